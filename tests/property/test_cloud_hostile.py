"""Whatever lies in the log, the fold goes on: what can be read is folded, and its document can be written."""

from typing import Any

import bson
import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud import changes, detect, effects, findings, fold
from cloud.detect import Job
from cloud.history import collect, documents
from cloud.inbox import Delivery, Record, open_record
from cloud.leaves import Leaves
from cloud.twin import Twin
from tests.cloud_world import NOW_MS, TOPIC_OF
from tests.wire_strategies import GOOD, KEYS, LIKELY, PATHS, changed, frame_maps, texts
from wire import catalogue
from wire.limits import SEQUENCE_MAX
from wire.messages import ConnectionState
from wire.topics import Kind

VARIABLES = [signal.path.split(".")[1:] for signal in catalogue.SIGNALS if signal.path.startswith("Station.")]
KEPT = frozenset(signal.number for signal in catalogue.SIGNALS)
LEAVES = Leaves()
SCALARS = st.booleans() | st.integers(-100, 100) | st.floats(-100, 100) | texts


@st.composite
def notified(draw: st.DrawFn) -> dict[str, Any]:
    """A station says something about a variable of the catalogue."""
    component, *variable = draw(st.sampled_from(VARIABLES))
    named = {"component": component, "variable": ".".join(variable)}
    return {**draw(GOOD["notify_event"]), **named, "actual_value": draw(SCALARS)}


def _packed(message: Any) -> bytes:
    try:
        return bytes(msgpack.packb(message))
    except (OverflowError, ValueError):  # an integer that msgpack has not
        return b"\xc1"


FRAMES = st.fixed_dictionaries(
    {
        "v": st.just(1),
        "ts": st.integers(NOW_MS - 9, NOW_MS + 9),
        "signals": st.dictionaries(KEYS | PATHS, LIKELY, max_size=5),
    },
    optional={"session": st.sampled_from("st"), "seq": st.integers(0, 9) | st.just(SEQUENCE_MAX)},
)
EVENTS = [name for name in GOOD if name.endswith("_event")]
MESSAGES = {
    "signals": FRAMES | FRAMES | frame_maps(),
    "events": st.one_of(notified(), *[GOOD[name] for name in EVENTS], *[changed(name) for name in EVENTS]),
    "connection": GOOD["connection_state"] | changed("connection_state"),
}
JUNK = st.binary(max_size=40) | st.one_of(list(MESSAGES.values())).map(_packed)


@st.composite
def values(draw: st.DrawFn) -> tuple[str, bytes]:
    """The topic and value of a record: mostly a batch that can be opened."""
    channel = draw(st.sampled_from(sorted(TOPIC_OF)))
    good = MESSAGES[channel].map(_packed)
    payloads = draw(st.lists(st.one_of(good, good, good, JUNK), min_size=1, max_size=4))
    each = {"min_size": len(payloads), "max_size": len(payloads)}
    batch = {
        "v": 1,
        "kind": draw(st.sampled_from([str(kind) for kind in Kind])),
        "asset_id": draw(st.sampled_from("a" * 19 + "b")),
        "channel": channel,
        "gateway": draw(st.just("gw") | texts),
        "epoch": draw(st.just("e1") | texts),
        "first_sequence": draw(st.integers(0, SEQUENCE_MAX)),
        "sequence_offsets": sorted(draw(st.lists(st.integers(0, SEQUENCE_MAX), **each))),
        "received_ms": draw(st.lists(st.sampled_from([NOW_MS, NOW_MS, NOW_MS + 1, 0]), **each)),
        "payloads": payloads,
        "replay": draw(st.sampled_from([None, None, "messages", "values"])),
    }
    return TOPIC_OF[channel], _packed(batch)


@given(st.lists(values() | values() | st.tuples(st.sampled_from(sorted(TOPIC_OF.values())), JUNK), max_size=6))
@settings(deadline=None, max_examples=300)
def test_no_record_stops_the_fold_or_history(said: list[tuple[str, bytes]]) -> None:
    records = [Record(topic, "g", 0, offset, b"a", value, NOW_MS) for offset, (topic, value) in enumerate(said)]
    twins = {kind: Twin("a", kind, new=True) for kind in Kind}
    for record in records:
        opened = open_record(record)
        assert opened.delivery is not None or opened.dead_letters
        for letter in opened.dead_letters:
            effects.dead_letter_record(letter, record.topic)
        if opened.delivery is not None:
            _fold(twins[opened.delivery.kind], opened.delivery)
    for topic in collect.TOPICS:
        read = [record for record in records if record.topic == topic]
        for piece in collect.pieces(read, KEPT, NOW_MS) if read else ():
            bson.encode(piece)
            documents.all_samples([piece])


def _fold(asset: Twin, delivery: Delivery) -> None:
    before = dict(asset.counters)
    inputs = detect.inputs_of(asset)
    outcome = fold.fold(asset, [delivery])
    judged = [item for item in delivery.items if not isinstance(item.content, ConnectionState)]
    counted = outcome.folded + outcome.duplicates + outcome.uncertain
    assert counted == (0 if delivery.replay == "values" else len(judged))
    for event in outcome.events:
        bson.encode(effects.event_write(event)._doc)
    for number, value in asset.values.items():
        assert catalogue.checked(catalogue.BY_NUMBER[number], value) == value
    job = Job(asset, inputs, outcome.advances)
    detect.detect([job])
    if job.advances:
        found = findings.apply(asset, job.transitions, max(ts_ms for ts_ms, _ in job.advances))
        effects.anomaly_writes(found, asset.heard)
        effects.anomaly_records(found)
    change = changes.of(asset, LEAVES)
    assert bson.decode(change.fields.raw)["revision"] == change.revision + 1
    asset.revision += 1
    assert all(asset.counters[name] >= count for name, count in before.items() if name != "gaps")
