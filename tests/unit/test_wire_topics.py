"""Names on the wire."""

import pytest

from wire import topics
from wire.malformed import Malformed, Reason
from wire.topics import Address, Channel, Kind


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("channel", list(Channel))
def test_a_topic_is_read_as_it_was_written(kind, channel):
    topic = topics.mqtt_topic(kind, "car-1", channel)
    assert topics.parse_mqtt_topic(topic) == Address(kind, "car-1", channel)


def test_the_topics_are_those_that_devices_were_told():
    assert topics.mqtt_topic(Kind.VEHICLE, "a", Channel.SIGNALS) == "dt/fleet/vehicle/a/signals"
    assert topics.mqtt_topic(Kind.STATION, "a", Channel.EVENTS) == "dt/fleet/station/a/events"
    assert topics.mqtt_topic(Kind.VEHICLE, "a", Channel.CONNECTION) == "state/fleet/vehicle/a/connection"


@pytest.mark.parametrize("channel", list(Channel))
def test_every_topic_is_covered_by_exactly_one_filter(channel):
    topic = topics.mqtt_topic(Kind.VEHICLE, "a", channel).split("/")
    matching = [
        pattern
        for pattern in topics.MQTT_FILTERS
        if all(part in ("+", given) for part, given in zip(pattern.split("/"), topic, strict=True))
    ]
    assert len(matching) == 1


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "/",
        "dt/fleet/vehicle/a",
        "dt/fleet/vehicle/a/signals/",
        "/dt/fleet/vehicle/a/signals",
        "dt/fleets/vehicle/a/signals",
        "dt/fleet/plane/a/signals",
        "dt/fleet/Vehicle/a/signals",
        "dt/fleet/vehicle/a/connection",
        "state/fleet/vehicle/a/signals",
        "dt/fleet/vehicle/a/Signals",
        "cmd/fleet/vehicle/a/lock",
        "dt/fleet//a/signals",
        "dt/fleet/vehicle/a/b/signals",
    ],
)
def test_another_shape_is_a_bad_topic(topic):
    refused = topics.parse_mqtt_topic(topic)
    assert isinstance(refused, Malformed)
    assert refused.reason is Reason.BAD_TOPIC


@pytest.mark.parametrize(
    "asset_id", ["", "-a", "A", "a_b", "a.b", "a#", "a+", "a\0", "a\n", "a b", "ä", "a" * 65, "a" * 10_000, "１"]
)
def test_another_asset_id_is_refused_without_repeating_all_of_it(asset_id):
    refused = topics.parse_mqtt_topic(f"dt/fleet/vehicle/{asset_id}/signals")
    assert isinstance(refused, Malformed)
    assert refused.reason is Reason.BAD_ASSET_ID
    assert len(refused.detail) < 200


@pytest.mark.parametrize("asset_id", ["a", "0", "a-", "wvw-0001", "a" * 64])
def test_asset_ids_of_the_contract_are_read(asset_id):
    assert topics.parse_mqtt_topic(f"dt/fleet/vehicle/{asset_id}/signals") == (Kind.VEHICLE, asset_id, Channel.SIGNALS)


def test_every_source_topic_has_a_dead_letter_topic_that_is_created_too():
    names = [spec.name for spec in topics.KAFKA_TOPICS]
    assert len(set(names)) == len(names)
    for source in (*topics.KAFKA_TOPIC_OF.values(), topics.CUSTOMER_PROFILES, topics.ASSET_ROLES):
        assert topics.dead_letter_topic(source) in names


def test_only_latest_state_topics_are_compacted():
    """Compacting a topic of events would delete all but the last event of each asset."""
    compacted = {spec.name for spec in topics.KAFKA_TOPICS if spec.compacted}
    of_gateways = {topics.GATEWAY_RULES, topics.GATEWAY_RULES_STATUS}
    assert compacted == {topics.CUSTOMER_PROFILES, topics.ML_MODELS} | of_gateways


def test_each_channel_has_its_own_kafka_topic_and_the_way_back():
    assert {topics.CHANNEL_OF[topic]: topic for topic in topics.CHANNEL_OF} == topics.KAFKA_TOPIC_OF
    assert set(topics.KAFKA_TOPIC_OF) == set(Channel)
