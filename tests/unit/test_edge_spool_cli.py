"""Looking into a spool from outside: what is exported, and that verify finds every damage and nothing else."""

import base64
import json
from pathlib import Path

import msgpack
import pytest
from typer.testing import CliRunner, Result

from edge import inspection
from edge.cli import app
from edge.inspection import Survey
from edge.spool import records
from edge.spool import series as names
from edge.spool.disk import Directory
from edge.spool.records import Gap, Refused, Run, StorageClass
from edge.spool.spool import Limits, Spool
from tests.edge_disk import Inode, ManualClock, MemoryDisk, message, open_spool, put, read_all
from wire.malformed import Reason
from wire.topics import Address, Channel, Kind

HOUR_MS = 3_600_000
BEGIN_MS = 1_767_225_600_000
"""2026-01-01 UTC."""
SMALL = Limits(4_000_000, 1_000_000, 4_096)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["spool", *words])


def frame(
    asset_id: str, number: int, channel: Channel = Channel.SIGNALS, payload: bytes | None = None
) -> records.Bundle:
    content = payload or json.dumps({"session": "s", "seq": number}).encode()
    series = names.of(Address(Kind.VEHICLE, asset_id, channel))
    return records.bundle(series, [Run(BEGIN_MS + number * HOUR_MS, 1)], [content])


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Ten frames of two cars, an event, a payload that is no JSON, a refused message and a gap."""
    disk = Directory(tmp_path)
    made = Spool.open(disk, SMALL, ManualClock(), lambda length: b"\xee" * length)
    for number in range(10):
        put(made, frame(f"car-{number % 2}", number))
    put(made, frame("car-0", 10, Channel.EVENTS), frame("car-1", 11, payload=b"\xc1\xff"))
    made.stage(
        [
            Refused(BEGIN_MS, "t.dlq", "mqtt:x", "car-1", Reason.BAD_TOPIC, "why", 3, b"\0\xff"),
            Gap(BEGIN_MS, StorageClass.SIGNALS, 5, 6, 2, Reason.EXPIRED, "old"),
        ]
    )
    made.commit()
    made.close()
    disk.close()
    return tmp_path


def exported(*words: str) -> list[dict[str, object]]:
    done = run("export", *words)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_export_gives_each_record_as_a_line_of_json(spool: Path) -> None:
    lines = exported(str(spool))
    first = {"session": "s", "seq": 0}
    assert lines[0] == {
        "epoch": "ee" * 8, "sequence": 0, "class": "signals", "stream": 0, "type": "message",
        "received_ms": BEGIN_MS, "kind": "vehicle", "asset_id": "car-0", "channel": "signals",
        "received": "2026-01-01T00:00:00.000+00:00", "payload": first,
    }  # fmt: skip
    assert [line["type"] for line in lines] == ["message"] * 12 + ["refused", "gap"]
    assert lines[10]["payload_base64"] == base64.b64encode(b"\xc1\xff").decode()
    assert (lines[-1]["reason"], lines[-1]["first_sequence"], lines[-1]["storage_class"]) == ("expired", 5, "signals")


def test_export_as_msgpack_gives_payloads_as_they_came(spool: Path, tmp_path: Path) -> None:
    file = tmp_path / "out"
    assert run("export", str(spool), "--format", "msgpack", "--output", str(file)).exit_code == 0
    with file.open("rb") as opened:
        found = list(msgpack.Unpacker(opened))
    assert found[0]["payload"] == b'{"session": "s", "seq": 0}'
    assert len(found) == 14
    again = run("export", str(spool), "--output", str(file))
    assert again.exit_code == 2
    assert "exists already" in again.output


def test_export_filters_by_class_asset_and_time(spool: Path) -> None:
    assert len(exported(str(spool), "--class", "events")) == 3
    assert {line["asset_id"] for line in exported(str(spool), "--asset", "car-1")} == {"car-1"}
    assert len(exported(str(spool), "--asset", "car-0", "--asset", "car-1")) == 13
    some = exported(str(spool), "--since", "2026-01-01T02:00:00", "--until", "2026-01-01T05:00:00")
    assert [line["sequence"] for line in some] == [2, 3, 4]


def test_export_of_what_is_undelivered_leaves_out_what_kafka_has(spool: Path) -> None:
    disk = Directory(spool)
    made = Spool.open(disk, SMALL, ManualClock())
    chunk = made.read(StorageClass.SIGNALS)
    assert chunk is not None
    made.confirm(chunk, chunk.remaining)
    made.close()
    disk.close()
    assert {line["class"] for line in exported(str(spool), "--undelivered")} == {"events"}


def test_verify_of_a_whole_spool_is_content_and_counts(spool: Path) -> None:
    done = run("verify", str(spool))
    assert done.exit_code == 0
    assert done.stdout == "14 records in 2 segments are whole, 0 faults\n"
    assert json.loads(run("verify", str(spool), "--json").stdout)["damage"] == []


def test_beside_a_running_agent_everything_reads_and_nothing_is_disturbed(spool: Path) -> None:
    disk = Directory(spool)
    made = Spool.open(disk, SMALL, ManualClock())
    put(made, frame("car-0", 20))
    newest = max(spool.glob("signals-*.seg"))
    whole = newest.read_bytes()
    newest.write_bytes(whole + whole[8:90])  # an append that goes on
    before = {file: file.read_bytes() for file in spool.iterdir()}
    assert run("verify", str(spool)).exit_code == 0
    assert len(exported(str(spool))) == 15
    assert run("inspect", str(spool)).exit_code == 0
    assert {file: file.read_bytes() for file in spool.iterdir()} == before
    made.close()
    disk.close()


def test_damage_is_named_with_its_file_and_what_is_whole_is_exported(spool: Path) -> None:
    file = min(spool.glob("signals-*.seg"))
    file.write_bytes(file.read_bytes().replace(b'"seq": 3', b'"seq": 4'))
    done = run("verify", str(spool))
    assert done.exit_code == 1
    assert f"{file.name}: 1 blocks whose bytes are not those that were written" in done.stdout
    copied = run("export", str(spool))
    assert copied.exit_code == 1
    assert len(copied.stdout.splitlines()) == 13
    assert "not everything could be read" in copied.stderr


def test_a_directory_that_is_not_there_is_named() -> None:
    for command in ("inspect", "export", "verify"):
        done = run(command, "/no/spool")
        assert done.exit_code == 1
        assert done.stderr == "/no/spool: No such file or directory\n"


def damage(disk: MemoryDisk) -> list[inspection.Damage]:
    survey = Survey(disk)
    return inspection.verify(survey, list(survey.segments()))


def filled() -> MemoryDisk:
    disk = MemoryDisk()
    spool = open_spool(disk, Limits(100_000, 300, 4096))
    for number in range(6):
        put(spool, message(number, size=40))
        put(spool, message(number + 10, Channel.EVENTS, size=40))
        if number < 2:
            read_all(spool, StorageClass.SIGNALS)
            spool.checkpoint()
    spool.close()
    return disk


def test_verify_finds_every_flipped_bit_of_every_file() -> None:
    disk = filled()
    assert damage(disk) == []
    for name, inode in disk.names.items():
        data = inode.data.partition(b"\n")[0] if name.startswith("checkpoint") else inode.data
        for bit in range(8 * len(data)):
            flipped = bytearray(inode.data)
            flipped[bit // 8] ^= 1 << bit % 8
            disk.names[name] = Inode(bytes(flipped), bytes(flipped))
            assert damage(disk), (name, bit)
        disk.names[name] = inode


def test_verify_finds_a_missing_file_in_the_middle() -> None:
    disk = filled()
    segments = sorted(name for name in disk.names if name.startswith("events"))
    assert len(segments) > 2
    del disk.names[segments[1]]
    (found,) = damage(disk)
    assert "are in no file" in found.what


def test_what_was_delivered_in_the_middle_and_deleted_is_no_damage() -> None:
    disk = MemoryDisk()
    spool = open_spool(disk, Limits(100_000, 200, 300))
    put(spool, message(0, size=100))
    spool.split(StorageClass.SIGNALS)
    for number in range(1, 8):
        put(spool, message(number, size=100))
        chunk = spool.read(StorageClass.SIGNALS)
        assert chunk is not None
        spool.confirm(chunk, chunk.remaining)
    spool.checkpoint()
    spool.checkpoint()
    spool.trim()
    assert len([name for name in disk.names if name.endswith(".seg")]) == 2
    assert damage(disk) == []
