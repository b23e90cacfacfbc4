"""librdkafka settings that every Kafka client of fleetfold shares, so that all agree on partitions and safety."""

from typing import Any, Final

Settings = dict[str, Any]

QUIET: Final[Settings] = {"log_level": 2}
"""librdkafka's own log repeats each attempt to connect, dozens a second; what matters comes to `error_cb` as well."""
PRODUCER: Final[Settings] = {
    **QUIET,
    "acks": "all",
    "enable.idempotence": True,
    "message.timeout.ms": 0,  # never give up: the default of 5 minutes loses messages in a longer outage
    "partitioner": "murmur2_random",  # Java's; librdkafka's own default puts keys elsewhere
    "compression.type": "zstd",
    "compression.level": 1,  # the default, 3, makes batches of frames no smaller and costs a multiple
    "linger.ms": 5,
}
CONSUMER: Final[Settings] = {
    **QUIET,
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "session.timeout.ms": 6000,  # some brokers hold a join for the whole session timeout
    "partition.assignment.strategy": "cooperative-sticky",
    "fetch.wait.max.ms": 100,
    "topic.metadata.refresh.interval.ms": 30_000,  # how long new partitions stay unknown: the default is 5 minutes
}
