"""Apache Kafka in KRaft mode: starts, keeps what it acknowledged through kill -9, stays quiet."""

from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from local.processes import Processes
from local.servers import apache_kafka

pytestmark = pytest.mark.usefixtures("apache_kafka_available")


def test_acknowledged_records_survive_a_kill_and_the_log_has_no_errors(processes: Processes, tmp_path: Path) -> None:
    with apache_kafka.ApacheKafka(processes, tmp_path) as server:
        admin = AdminClient({"bootstrap.servers": server.url})
        for future in admin.create_topics([NewTopic("fleet", 2, 1)]).values():
            future.result()
        producer = Producer({"bootstrap.servers": server.url, "acks": "all"})
        for number in range(100):
            producer.produce("fleet", str(number).encode())
        assert producer.flush(20) == 0
        del producer, admin
        server.kill()
        server.start()
        assert _values(server.url, 100) == {str(number).encode() for number in range(100)}
        log = server.log_file.read_text()
    assert " ERROR " not in log
    assert "SLF4J" not in log
    assert len(log.splitlines()) < 30


def _values(bootstrap_servers: str, expected: int) -> set[bytes]:
    settings = {"bootstrap.servers": bootstrap_servers, "group.id": "survivors", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    consumer.subscribe(["fleet"])
    values: set[bytes] = set()
    for _ in range(60):
        values.update(message.value() or b"" for message in consumer.consume(expected, 1.0) if not message.error())
        if len(values) >= expected:
            break
    consumer.close()
    return values
