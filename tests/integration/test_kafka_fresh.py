"""The Kafka broker that a test gets for itself."""

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic


@pytest.mark.parametrize("time", ["first", "second"])
def test_a_fresh_kafka_has_no_topics_and_no_groups(fresh_kafka: str, time: str) -> None:
    admin = AdminClient({"bootstrap.servers": fresh_kafka})
    assert [name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")] == []
    assert admin.list_consumer_groups().result().valid == []
    for future in admin.create_topics([NewTopic("fleet.signals.v1", 2, 1)]).values():
        future.result()
    producer = Producer({"bootstrap.servers": fresh_kafka, "acks": "all"})
    producer.produce("fleet.signals.v1", b"left behind")
    assert producer.flush(20) == 0
    settings = {
        "bootstrap.servers": fresh_kafka,
        "group.id": "left-behind",
        "auto.offset.reset": "earliest",
        "session.timeout.ms": 6000,
    }
    consumer = Consumer(settings)
    consumer.subscribe(["fleet.signals.v1"])
    message = consumer.poll(30)
    assert message is not None
    assert message.value() == b"left behind"
    consumer.commit(message, asynchronous=False)
    consumer.close()
