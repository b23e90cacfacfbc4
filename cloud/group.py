"""How the workers of a group share the partitions: which protocol, and what librdkafka is told about it. Pure."""

from typing import Any, Final, Literal

from wire import kafka

Protocol = Literal["classic", "consumer"]
Choice = Literal["auto", "classic", "consumer"]

PROTOCOLS: Final = "group.coordinator.rebalance.protocols"
"""The broker's configuration that says what it speaks; Kafka 4 has `consumer` among them."""
_CLASSIC_ONLY: Final = ("session.timeout.ms", "partition.assignment.strategy")
"""With the next-generation protocol the broker decides these, and librdkafka refuses them."""

_CONSUMER: Final = {"group.protocol": "consumer", "group.remote.assignor": "range"}
"""Kafka's default, `uniform`, shares out the sum of all topics' partitions and keeps what a member has topic by topic:
the first of two workers would keep all of `fleet.signals.v1`, or none of it. `range` shares each topic, and gives all
channels of an asset to one worker, so that two do not write the same twin."""


def choose(choice: Choice, told: str | None) -> Protocol:
    """The protocol to speak. `auto`: KIP-848's where the broker told `PROTOCOLS` with it, since a rebalance there
    stops nobody; classic (cooperative) where it has it not, may not be asked, or does not answer."""
    if choice != "auto":
        return choice
    return "consumer" if "consumer" in (told or "").split(",") else "classic"


def settings(spoken: Protocol) -> dict[str, Any]:
    """librdkafka settings of a consumer."""
    common = {name: value for name, value in kafka.CONSUMER.items() if name not in _CLASSIC_ONLY}
    return kafka.CONSUMER if spoken == "classic" else {**common, **_CONSUMER}
