"""The truth on disk: readable at every moment, complete when written, never mixed with another run's."""

import json
from pathlib import Path

import pytest

from simulator.devices import UNCOUNTED, Message
from simulator.engine import FaultReport
from simulator.truth import ACKNOWLEDGED, FAULTS, SENT, Truth, TruthError, TruthWriter
from wire.messages import LifecycleStep, Profile, Role
from wire.topics import Channel, Kind


def _message(number, again=False):
    return Message(0, Kind.VEHICLE, "car-1", Channel.SIGNALS, f"payload {number}".encode(), again)


def _write(directory: Path, count=5, acknowledged=()):
    with TruthWriter(directory, {"command": "test"}) as writer:
        positions = writer.sent([_message(number) for number in range(count)])
        writer.acknowledged(acknowledged)
    return positions


def test_what_was_written_is_read_back(tmp_path):
    assert _write(tmp_path / "t", 3, [0, 2]) == [0, 1, 2]
    sent = list(Truth(tmp_path / "t").sent())
    assert [(entry.payload, entry.acknowledged) for entry in sent] == [
        (b"payload 0", True),
        (b"payload 1", False),
        (b"payload 2", True),
    ]
    assert sent[0][:3] == ("vehicle", "car-1", "signals")
    assert Truth(tmp_path / "t").run() == {"v": 1, "command": "test"}


def test_a_message_is_on_disk_before_it_is_sent(tmp_path):
    writer = TruthWriter(tmp_path / "t", {})
    writer.sent([_message(1)])
    assert [entry.payload for entry in Truth(tmp_path / "t").sent()] == [b"payload 1"]
    writer.close()


def test_repeated_messages_are_there_once(tmp_path):
    with TruthWriter(tmp_path / "t", {}) as writer:
        assert writer.sent([_message(1), _message(1, again=True), _message(2)]) == [0, UNCOUNTED, 1]
    assert len(list(Truth(tmp_path / "t").sent())) == 2


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_torn_last_entry_is_ignored(tmp_path, cut):
    _write(tmp_path / "t", 4)
    path = tmp_path / "t" / SENT
    raw = path.read_bytes()
    path.write_bytes(raw[:-cut])
    assert cut < len(raw) // 4
    assert len(list(Truth(tmp_path / "t").sent())) == 3


def test_a_torn_acknowledgement_is_ignored(tmp_path):
    _write(tmp_path / "t", 3, [1, 2])
    path = tmp_path / "t" / ACKNOWLEDGED
    path.write_bytes(path.read_bytes()[:-3])
    assert [entry.acknowledged for entry in Truth(tmp_path / "t").sent()] == [False, True, False]


def test_a_torn_line_is_ignored(tmp_path):
    with TruthWriter(tmp_path / "t", {}) as writer:
        writer.faults([FaultReport("a", "tyre_leak", "tyre_pressure_low", 1, None, None)])
    path = tmp_path / "t" / FAULTS
    path.write_bytes(path.read_bytes() + b'{"asset_id": "b", "fau')
    assert [fault["asset_id"] for fault in Truth(tmp_path / "t").faults()] == ["a"]


def test_damage_in_the_middle_is_reported(tmp_path):
    _write(tmp_path / "t", 4)
    path = tmp_path / "t" / SENT
    raw = bytearray(path.read_bytes())
    raw[0] = 0xC1  # never a valid msgpack byte
    path.write_bytes(raw)
    with pytest.raises(TruthError, match="damaged"):
        list(Truth(tmp_path / "t").sent())


def test_the_newest_line_about_a_fault_counts(tmp_path):
    with TruthWriter(tmp_path / "t", {}) as writer:
        writer.faults([FaultReport("a", "tyre_leak", "tyre_pressure_low", 1, None, None)])
        writer.faults([FaultReport("a", "tyre_leak", "tyre_pressure_low", 1, 7, None)])
    assert [fault["visible_ms"] for fault in Truth(tmp_path / "t").faults()] == [7]


def test_facts_are_messages_of_the_contract(tmp_path):
    role = Role(1, "r", "car-1", "c", "owner", 946_684_800_000, 946_684_800_001)
    profile = Profile(1, "c", "Ada", 946_684_800_000)
    step = LifecycleStep(1, "car-1", Kind.VEHICLE, "built", 946_684_800_000)
    with TruthWriter(tmp_path / "t", {}) as writer:
        writer.facts([role, profile, step])
    truth = Truth(tmp_path / "t")
    assert (truth.roles(), truth.profiles(), truth.lifecycle()) == ([role], [profile], [step])


def test_a_second_run_into_the_same_directory_is_refused(tmp_path):
    _write(tmp_path / "t")
    with pytest.raises(TruthError, match="already holds"):
        TruthWriter(tmp_path / "t", {})


def test_a_directory_without_a_truth_is_named(tmp_path):
    with pytest.raises(TruthError, match="holds no truth"):
        Truth(tmp_path)


def test_progress_is_replaced_as_a_whole(tmp_path):
    with TruthWriter(tmp_path / "t", {}) as writer:
        for number in range(3):
            writer.progress({"frames": number})
    assert json.loads((tmp_path / "t" / "progress.json").read_text()) == {"frames": 2}
    assert not [path.name for path in (tmp_path / "t").iterdir() if path.name.startswith(".")]
