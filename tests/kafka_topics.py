"""Topics for tests, there when `create` returns: a controller answers before the brokers know. What a group knows."""

import time
from collections.abc import Mapping

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

_LIMIT_S = 20.0


def create(bootstrap_servers: str, partitions: Mapping[str, int]) -> None:
    """Create those topics (name → partitions) that do not exist yet, and wait until they are visible."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    existing = admin.list_topics(timeout=10).topics
    missing = [NewTopic(name, count, 1) for name, count in partitions.items() if name not in existing]
    for future in admin.create_topics(missing).values() if missing else ():
        future.result(_LIMIT_S)
    deadline = time.monotonic() + _LIMIT_S
    while absent := set(partitions) - set(admin.list_topics(timeout=10).topics):
        assert time.monotonic() < deadline, f"not visible: {absent}"
        time.sleep(0.05)


def committed(bootstrap_servers: str, group_id: str, topic: str, partitions: int) -> list[int]:
    """The offsets that a group knows, by partition; negative: none."""
    asking = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group_id, "log_level": 0})
    try:
        known = asking.committed([TopicPartition(topic, number) for number in range(partitions)], _LIMIT_S)
        return [one.offset for one in known]
    finally:
        asking.close()
