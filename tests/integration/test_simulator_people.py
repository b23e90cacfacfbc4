"""People on a real Kafka broker: what the truth says, is on the topics, once, keyed and with headers."""

import json
import threading
from collections import Counter

import pytest
from confluent_kafka import Consumer

from simulator import commands, condition, settings
from simulator.errors import UnreachableError
from simulator.show import Progress
from simulator.truth import Truth
from tests import kafka_topics
from wire import codec, topics
from wire.kafka import CONSUMER
from wire.messages import Activity, LifecycleStep, Profile, Role, shaped

TOPICS = {
    topics.CUSTOMER_PROFILES: Profile,
    topics.ASSET_ROLES: Role,
    topics.VEHICLE_LIFECYCLE: LifecycleStep,
    topics.CUSTOMER_ACTIVITY: Activity,
}
NOW_MS = 1_780_000_000_000


def _settings(servers, seed):
    fleet = {"vehicles": 30, "stations": 4, "seed": seed}
    return settings.load(None, {"kafka": {"bootstrap_servers": servers}, "fleet": fleet})


def _consume(servers, count):
    consumer = Consumer({**CONSUMER, "bootstrap.servers": servers, "group.id": "test-simulator-people"})
    consumer.subscribe(list(TOPICS))
    records = []
    try:
        while len(records) < count:
            batch = consumer.consume(500, timeout=10)
            assert batch, f"only {len(records)} of {count} records"
            assert not [record.error() for record in batch if record.error()]
            records += batch
    finally:
        consumer.close()
    return records


@pytest.fixture
def kafka_with_topics(fresh_kafka):
    kafka_topics.create(fresh_kafka, dict.fromkeys(TOPICS, 4))
    return fresh_kafka


def test_what_the_truth_says_is_on_the_topics_and_running_again_says_the_same(kafka_with_topics, tmp_path):
    servers = kafka_with_topics
    for name in ("once", "again"):
        options = commands.PeopleOptions(tmp_path / name, [("carobd", None)], NOW_MS)
        summary = commands.tell_people(_settings(servers, 7), options)
    assert summary["recorded_assets"] == 1
    records = _consume(servers, 2 * summary["published"])
    truth = Truth(tmp_path / "once")
    told = [*truth.roles(), *truth.profiles(), *truth.lifecycle(), *truth.activities()]
    heard = []
    ids = Counter()
    for record in records:
        message = shaped(codec.decode(record.value()), TOPICS[record.topic()])
        assert isinstance(message, TOPICS[record.topic()])
        headers = dict(record.headers())
        key = message.customer_id if isinstance(message, (Profile, Activity)) else message.asset_id
        assert record.key().decode() == key == headers["ce_subject"].decode()
        assert headers["content-type"] == b"application/json"
        ids[record.topic(), headers["ce_source"], headers["ce_id"]] += 1
        heard.append(message)
    assert len(told) == summary["published"]
    assert Counter(map(repr, heard)) == Counter({repr(message): 2 for message in told})
    assert set(ids.values()) == {2}, "the second run repeats the ids of the first"


def test_services_during_a_run_are_told_as_the_truth_says_and_go_on_with_what_people_told(
    kafka_with_topics, mqtt_url, tmp_path, monkeypatch
):
    monkeypatch.setattr(condition, "COMES_AFTER_KM", 0.0)
    monkeypatch.setattr(condition, "_COMES_WITHIN_S", 600.0)
    size = {"vehicles": 60, "stations": 2, "seed": 11, "speedup": 600.0, "duration_s": 2.0, "step_s": 2.0}
    send = {"tell_services": True}
    loaded = settings.load(
        None,
        {"kafka": {"bootstrap_servers": kafka_with_topics}, "mqtt": {"url": mqtt_url}, "fleet": size, "send": send},
    )
    summary = commands.run(loaded, tmp_path / "run", None, Progress(), threading.Event())
    told = Truth(tmp_path / "run").lifecycle()
    assert len(told) == summary["serviced"] > 0
    heard = [shaped(codec.decode(record.value()), LifecycleStep) for record in _consume(kafka_with_topics, len(told))]
    assert Counter(map(repr, heard)) == Counter(map(repr, told))
    lives = commands.tell_people(loaded, commands.PeopleOptions(tmp_path / "people", [], NOW_MS))
    before = {step.reference for step in Truth(tmp_path / "people").lifecycle()}
    assert lives["lifecycle_steps"] > 0
    assert before.isdisjoint(step.reference for step in told)


def test_topics_that_are_missing_are_named_with_the_way_to_make_them(fresh_kafka):
    with pytest.raises(UnreachableError, match="topics create"):
        commands.tell_people(_settings(fresh_kafka, 1), commands.PeopleOptions(None, [], NOW_MS))


def test_values_are_json(kafka_with_topics):
    summary = commands.tell_people(_settings(kafka_with_topics, 8), commands.PeopleOptions(None, [], NOW_MS))
    for record in _consume(kafka_with_topics, summary["published"]):
        assert json.loads(record.value())["v"] == 1
