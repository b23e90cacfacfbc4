"""Names on the wire: asset ids, MQTT topics, Kafka topics."""

import re
from enum import StrEnum
from typing import Final, NamedTuple

from wire.malformed import Malformed, Reason

ASSET_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
"""Opaque and never the VIN, which is personal data. Use `fullmatch`."""


class Kind(StrEnum):
    """What an asset is."""

    VEHICLE = "vehicle"
    STATION = "station"


class Channel(StrEnum):
    """What a device says; each channel of a device counts its own sequence."""

    SIGNALS = "signals"
    EVENTS = "events"
    CONNECTION = "connection"


class Address(NamedTuple):
    """Where an MQTT message comes from."""

    kind: Kind
    asset_id: str
    channel: Channel


_ROOT_OF: Final = {Channel.SIGNALS: "dt", Channel.EVENTS: "dt", Channel.CONNECTION: "state"}

MQTT_FILTERS: Final = (
    "dt/fleet/+/+/signals",
    "dt/fleet/+/+/events",
    "state/fleet/+/+/connection",
)
"""What the edge agent subscribes to."""


def mqtt_topic(kind: Kind, asset_id: str, channel: Channel) -> str:
    """The MQTT topic on which an asset publishes `channel`."""
    return f"{_ROOT_OF[channel]}/fleet/{kind}/{asset_id}/{channel}"


def parse_mqtt_topic(topic: str) -> Address | Malformed:
    """Read an MQTT topic; anything but the contract's shape is `Malformed`."""
    parts = topic.split("/")
    if len(parts) != 5 or parts[1] != "fleet":
        return Malformed(Reason.BAD_TOPIC, "expected <root>/fleet/<kind>/<asset_id>/<channel>")
    root, _, kind, asset_id, channel = parts
    if kind not in Kind.__members__.values():
        return Malformed(Reason.BAD_TOPIC, f"kind {kind[:80]!r} is none of {', '.join(Kind)}")
    if channel not in Channel.__members__.values() or root != _ROOT_OF[Channel(channel)]:
        return Malformed(Reason.BAD_TOPIC, f"no channel {channel[:80]!r} under {root[:80]!r}")
    if ASSET_ID.fullmatch(asset_id) is None:
        return Malformed(Reason.BAD_ASSET_ID, f"asset id {asset_id[:80]!r} does not match {ASSET_ID.pattern}")
    return Address(Kind(kind), asset_id, Channel(channel))


GATEWAY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
"""The name of an edge agent. Use `fullmatch`."""

MQTT_RULES_FOR_ALL: Final = "cmd/gateways/rules"
"""Retained: the collection rules of every edge agent that has none of its own."""


def mqtt_rules_topic(gateway: str) -> str:
    """Retained: the collection rules of one edge agent. Empty: none of its own."""
    return f"cmd/gateway/{gateway}/rules"


def mqtt_rules_status_topic(gateway: str) -> str:
    """Retained: which rules an edge agent follows."""
    return f"state/gateway/{gateway}/rules"


GATEWAY_RULES: Final = "gateway.rules.v1"
GATEWAY_RULES_STATUS: Final = "gateway.rules.status.v1"
RULES_KEY_FOR_ALL: Final = "*"
"""On `gateway.rules.v1`, beside the names of gateways."""

FLEET_SIGNALS: Final = "fleet.signals.v1"
FLEET_EVENTS: Final = "fleet.events.v1"
FLEET_CONNECTIONS: Final = "fleet.connections.v1"
CUSTOMER_PROFILES: Final = "customer.profiles.v1"
ASSET_ROLES: Final = "asset.roles.v1"
VEHICLE_LIFECYCLE: Final = "vehicle.lifecycle.v1"
CUSTOMER_ACTIVITY: Final = "customer.activity.v1"
TWIN_ANOMALIES: Final = "twin.anomalies.v1"
ML_MODELS: Final = "ml.models.v1"

KAFKA_TOPIC_OF: Final = {
    Channel.SIGNALS: FLEET_SIGNALS,
    Channel.EVENTS: FLEET_EVENTS,
    Channel.CONNECTION: FLEET_CONNECTIONS,
}
CHANNEL_OF: Final = {topic: channel for channel, topic in KAFKA_TOPIC_OF.items()}


def dead_letter_topic(topic: str) -> str:
    """The topic that takes what cannot be used from `topic`."""
    return f"{topic}.dlq"


class TopicSpec(NamedTuple):
    """How a Kafka topic is created. `partitions` None: the operator's default."""

    name: str
    key: str
    compacted: bool = False
    partitions: int | None = None


_SOURCES: Final = (
    TopicSpec(FLEET_SIGNALS, "asset_id"),
    TopicSpec(FLEET_EVENTS, "asset_id"),
    TopicSpec(FLEET_CONNECTIONS, "asset_id"),
    TopicSpec(CUSTOMER_PROFILES, "customer_id", compacted=True),
    TopicSpec(ASSET_ROLES, "asset_id"),
    TopicSpec(VEHICLE_LIFECYCLE, "asset_id"),
    TopicSpec(CUSTOMER_ACTIVITY, "customer_id"),
)
DEAD_LETTER_TOPICS: Final = tuple(dead_letter_topic(source.name) for source in _SOURCES)
KAFKA_TOPICS: Final = (
    *_SOURCES,
    TopicSpec(TWIN_ANOMALIES, "asset_id"),
    TopicSpec(ML_MODELS, "model_id", compacted=True, partitions=1),
    TopicSpec(GATEWAY_RULES, "gateway", compacted=True, partitions=1),
    TopicSpec(GATEWAY_RULES_STATUS, "gateway", compacted=True, partitions=1),
    *(TopicSpec(dead_letter_topic(source.name), source.key, partitions=1) for source in _SOURCES),
)
"""Every topic that `topics create` creates."""
