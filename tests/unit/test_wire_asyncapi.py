"""The AsyncAPI document describes the channels that the code uses, with examples that the code accepts."""

import base64
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cloud import effects
from cloud.config import TopicSettings
from edge.letters import Source
from edge.parcels import Claim, Packer
from edge.spool import records
from edge.spool import series as names
from edge.spool.chain import Position
from edge.spool.reader import Chunk
from simulator import kafka as simulated
from wire import batches, codec, frames, schemas, topics
from wire.messages import AnyEvent, Batch, ConnectionState, Frame, shaped
from wire.records import DeadLetter
from wire.topics import Address, Channel, Kind

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENT: dict[str, Any] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text(encoding="utf-8"))
CHANNELS: dict[str, Any] = DOCUMENT["channels"]
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
BY_ADDRESS = {channel["address"]: channel for channel in CHANNELS.values()}
KAFKA = {address: channel for address, channel in BY_ADDRESS.items() if "/" not in address}
MQTT = {address: channel for address, channel in BY_ADDRESS.items() if "/" in address}
RESERVED = {topics.ML_MODELS}
SHAPES: dict[str, Any] = {
    "frame": Frame,
    "dtcEvent": AnyEvent,
    "chargingEvent": AnyEvent,
    "notifyEvent": AnyEvent,
    "tripEvent": AnyEvent,
    "connectionState": ConnectionState,
    "signalsBatch": Batch,
    "eventsBatch": Batch,
    "connectionsBatch": Batch,
    "profile": schemas.TYPES["profile"],
    "role": schemas.TYPES["role"],
    "lifecycleStep": schemas.TYPES["lifecycle_step"],
    "activity": schemas.TYPES["activity"],
    "anomaly": schemas.TYPES["anomaly"],
    "ruleSet": schemas.TYPES["rule_set"],
    "rulesStatus": schemas.TYPES["rules_status"],
    "rulesStatusRecord": schemas.TYPES["rules_status"],
}
EXAMPLES = [
    pytest.param(name, example, id=f"{name}-{example['name']}")
    for name, message in MESSAGES.items()
    for example in message["examples"]
]


def resolve(reference: str) -> Any:
    """What a `$ref` of the document points at."""
    file, _, pointer = reference.partition("#")
    found: Any = yaml.safe_load((DOCS / file).read_text(encoding="utf-8")) if file else DOCUMENT
    for part in filter(None, pointer.split("/")):
        found = found[part]
    return found


def references(part: Any) -> list[str]:
    if isinstance(part, list):
        return [reference for item in part for reference in references(item)]
    if not isinstance(part, dict):
        return []
    own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
    return own + [reference for item in part.values() for reference in references(item)]


def messages_of(channel: dict[str, Any]) -> set[str]:
    return {message["$ref"].rpartition("/")[2] for message in channel.get("messages", {}).values()}


def test_it_is_an_asyncapi_3_0_document():
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert set(DOCUMENT) == {
        "asyncapi", "info", "defaultContentType", "servers", "channels", "operations", "components",
    }  # fmt: skip
    assert {"title", "version"} <= set(DOCUMENT["info"])


def test_every_reference_resolves():
    found = references(DOCUMENT)
    assert len(found) > 50
    for reference in found:
        assert resolve(reference) is not None, reference


def test_every_kafka_topic_of_the_code_is_described_and_no_other():
    assert set(KAFKA) == {spec.name for spec in topics.KAFKA_TOPICS}


def test_every_mqtt_topic_of_the_code_is_described_and_no_other():
    of_devices = {
        topics.mqtt_topic("{kind}", "{asset_id}", channel)  # type: ignore[arg-type] # a pattern, not a kind
        for channel in Channel
    }
    of_gateways = {topics.mqtt_rules_topic("{gateway}"), topics.mqtt_rules_status_topic("{gateway}")}
    assert set(MQTT) == {*of_devices, *of_gateways, topics.MQTT_RULES_FOR_ALL}
    for address, channel in MQTT.items():
        assert set(channel.get("parameters", {})) == set(re.findall(r"{(\w+)}", address))
    assert DOCUMENT["components"]["parameters"]["kind"]["enum"] == list(Kind)


@pytest.mark.parametrize("spec", topics.KAFKA_TOPICS, ids=lambda spec: spec.name)
def test_a_kafka_channel_is_created_as_described(spec):
    defaults = TopicSettings()
    described = KAFKA[spec.name]["bindings"]["kafka"]
    assert described["topic"] == spec.name
    assert described["partitions"] == (spec.partitions or defaults.partitions)
    if spec.compacted:
        assert described["topicConfiguration"] == {"cleanup.policy": ["compact"]}
    else:
        retention_ms = defaults.retention_days * 24 * 3_600_000
        assert described["topicConfiguration"] == {"cleanup.policy": ["delete"], "retention.ms": retention_ms}


@pytest.mark.parametrize("spec", topics.KAFKA_TOPICS, ids=lambda spec: spec.name)
def test_the_key_of_a_kafka_message_is_described(spec):
    for name in messages_of(KAFKA[spec.name]) - {"deadLetter"}:
        assert resolve(MESSAGES[name]["bindings"]["$ref"])["kafka"]["key"]["description"] == spec.key


def test_every_channel_has_messages_and_every_message_a_channel():
    for address, channel in BY_ADDRESS.items():
        assert bool(messages_of(channel)) == (address not in RESERVED), address
    assert set.union(*map(messages_of, BY_ADDRESS.values())) == set(MESSAGES)


def test_dead_letter_topics_carry_dead_letters_and_nothing_else_does():
    for address, channel in KAFKA.items():
        assert (messages_of(channel) == {"deadLetter"}) == address.endswith(".dlq")


def test_every_channel_is_on_its_server():
    for addresses, server in ((MQTT, "mqtt"), (KAFKA, "kafka")):
        for channel in addresses.values():
            assert channel["servers"] == [{"$ref": f"#/servers/{server}"}]


def test_every_channel_with_messages_has_an_operation():
    used = {resolve(operation["channel"]["$ref"])["address"] for operation in DOCUMENT["operations"].values()}
    assert used == BY_ADDRESS.keys() - RESERVED


def test_everybody_speaks_at_qos_1_and_only_connections_and_rules_are_retained():
    for operation in DOCUMENT["operations"].values():
        address = resolve(operation["channel"]["$ref"])["address"]
        if address in MQTT:
            assert operation["bindings"]["mqtt"]["qos"] == 1
            assert operation["bindings"]["mqtt"].get("retain", False) == address.endswith(("/connection", "/rules"))


def test_the_last_will_shown_is_one():
    will = DOCUMENT["servers"]["mqtt"]["bindings"]["mqtt"]["lastWill"]
    assert isinstance(shaped(codec.decode(will["message"].encode()), ConnectionState), ConnectionState)
    assert isinstance(topics.parse_mqtt_topic(will["topic"]), topics.Address)
    assert (will["qos"], will["retain"]) == (1, True)


@pytest.mark.parametrize(("name", "example"), EXAMPLES)
def test_an_example_obeys_its_schema(name, example):
    message = MESSAGES[name]
    for part in ("headers", "payload"):
        assert (part in message) == (part in example)
        if part in message:
            given = message[part].get("schema", message[part])
            schema = resolve(given["$ref"]) if "$ref" in given else given
            jsonschema.Draft202012Validator(schema).validate(example[part])


@pytest.mark.parametrize("encode", [codec.to_msgpack, codec.to_json])
@pytest.mark.parametrize(("name", "example"), [given for given in EXAMPLES if given.values[0] in SHAPES])
def test_an_example_is_accepted_by_the_code(name, example, encode):
    read = shaped(codec.decode(encode(example["payload"])), SHAPES[name])
    assert type(read).__name__ == resolve(MESSAGES[name]["payload"]["schema"]["$ref"])["title"]


@pytest.mark.parametrize("example", MESSAGES["frame"]["examples"], ids=lambda example: example["name"])
def test_the_values_in_an_example_are_in_the_catalogue(example):
    frame = frames.decode(codec.to_json(example["payload"]))
    assert isinstance(frame, Frame)
    reading = frames.read(frame, frame.ts)
    assert isinstance(reading, frames.Reading)
    assert reading.rejected == []


@pytest.mark.parametrize("name", ["signalsBatch", "eventsBatch", "connectionsBatch"])
def test_the_payloads_in_a_batch_are_messages_of_its_channel(name):
    for example in MESSAGES[name]["examples"]:
        batch = shaped(codec.decode(codec.to_json(example["payload"])), Batch)
        assert isinstance(batch, Batch)
        assert topics.KAFKA_TOPIC_OF[batch.channel] in {
            address for address, channel in KAFKA.items() if name in messages_of(channel)
        }
        assert batches.decode(batches.encode(batch)) == batch
        shape = {Channel.SIGNALS: Frame, Channel.EVENTS: AnyEvent, Channel.CONNECTION: ConnectionState}[batch.channel]
        for payload in batch.payloads:
            assert not isinstance(shaped(codec.decode(payload), shape), tuple)


def test_the_dead_letter_shown_is_read_as_one():
    (example,) = MESSAGES["deadLetter"]["examples"]
    headers = [(name, value.encode()) for name, value in example["headers"].items()]
    letter = DeadLetter.read(base64.b64decode(example["payload"]), headers)
    assert dict(letter.headers()) == dict(headers)
    assert letter.size == len(letter.value)


@pytest.mark.parametrize("name", ["signalsBatch", "eventsBatch", "connectionsBatch"])
def test_the_record_of_a_batch_is_what_the_edge_agent_sends(name):
    (example,) = MESSAGES[name]["examples"]
    batch = shaped(codec.decode(codec.to_json(example["payload"])), Batch)
    assert isinstance(batch, Batch)
    series = names.of(Address(batch.kind, batch.asset_id, batch.channel))
    bundle = records.bundle(series, [records.Run(batch.received_ms[0], 1)], batch.payloads)
    claim = Claim(Chunk(records.StorageClass.SIGNALS, [], 0, 1, 1, Position(0, 0)), 1)
    parcel = Packer(Source(batch.gateway, batch.epoch)).batch([(batch.first_sequence, bundle)], [claim])
    assert {key: value.decode() for key, value in parcel.headers} == example["headers"]
    assert batches.decode(parcel.value) == batch
    assert KAFKA[parcel.topic]["messages"].keys() == {name}


@pytest.mark.parametrize("name", ["profile", "role", "lifecycleStep", "activity"])
def test_the_record_of_a_fact_is_what_the_simulator_sends(name):
    (example,) = MESSAGES[name]["examples"]
    fact = shaped(example["payload"], SHAPES[name])
    record = simulated.record(fact, example["headers"]["ce_source"])
    assert {key: value.decode() for key, value in record.headers} == example["headers"]
    assert codec.decode(record.value) == example["payload"]
    assert name in KAFKA[record.topic]["messages"]
    key = resolve(MESSAGES[name]["bindings"]["$ref"])["kafka"]["key"]
    assert record.key == example["payload"][key["description"]]


def test_the_record_of_a_finding_is_what_the_twin_service_sends():
    (example,) = MESSAGES["anomaly"]["examples"]
    change = {name: value for name, value in example["payload"].items() if name not in ("v", "anomaly_id")}
    (sent,) = effects.anomaly_records([{"_id": example["payload"]["anomaly_id"], **change}])
    assert {key: value.decode() for key, value in sent.headers} == example["headers"]
    assert codec.decode(sent.value) == example["payload"]
    assert sent.topic == topics.TWIN_ANOMALIES
    assert sent.key == example["payload"]["asset_id"].encode()
