"""The committed JSON Schemas are those of the code, and what the code sends obeys them."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from wire import batches, codec, frames, records, schemas
from wire.malformed import Malformed, Reason
from wire.messages import Batch, ConnectionState, Frame, plain
from wire.records import DeadLetter
from wire.topics import Channel, Kind

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "schemas"
TS = 1_700_000_000_000


def validate(name: str, value: object) -> None:
    jsonschema.Draft202012Validator(schemas.schema(name)).validate(value)


@pytest.mark.parametrize("name", schemas.TYPES)
def test_the_committed_schema_is_that_of_the_code(name):
    committed = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert committed == schemas.text(name), "run: python -m wire.schemas docs/schemas"


def test_no_other_schema_is_committed():
    assert {file.stem for file in FOLDER.iterdir()} == set(schemas.TYPES)


def test_the_command_writes_them_all(tmp_path):
    subprocess.run([sys.executable, "-m", "wire.schemas", str(tmp_path / "new")], cwd=ROOT, check=True, timeout=60)
    assert {file.stem for file in (tmp_path / "new").iterdir()} == set(schemas.TYPES)


@pytest.mark.parametrize("name", schemas.TYPES)
def test_a_schema_is_one_of_its_dialect(name):
    schema = schemas.schema(name)
    assert schema["$schema"] == schemas.DIALECT
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", schemas.TYPES)
def test_patterns_are_readable_outside_python(name):
    assert r"\\Z" not in schemas.text(name)


@pytest.mark.parametrize("name", schemas.TYPES)
def test_identifiers_are_unique_and_name_no_host(name):
    identifier = schemas.schema(name)["$id"]
    assert identifier == f"urn:fleetfold:schema:{name}:v1"


@pytest.mark.parametrize("json_", [False, True])
def test_frames_as_sent_obey(json_):
    for frame in (
        Frame(v=1, ts=TS, signals={"Vehicle.Speed": 1.5, 2: True, "57": ["P0300"]}),
        Frame(v=1, ts=TS, signals={"Vehicle.Speed": [1, None]}, session="s", seq=0, dt=[0, -5]),
    ):
        sent = codec.decode(frames.encode(frame, json_))
        validate("frame", json.loads(json.dumps(sent)))  # JSON's keys are text


def test_a_batch_as_sent_obeys():
    batch = Batch(1, Kind.VEHICLE, "car-1", Channel.SIGNALS, "gw", "e", 0, [0], [TS], [b"\x00"])
    sent = codec.decode(batches.encode(batch))
    validate("batch", json.loads(codec.to_json(sent)))


def test_a_last_will_as_sent_obeys():
    validate("connection_state", plain(ConnectionState(1, False, "s")))


@pytest.mark.parametrize("asset_id", ["", "car-1"])
@pytest.mark.parametrize("reason", list(Reason))
def test_the_headers_of_dead_letters_as_sent_obey(reason, asset_id):
    letter = DeadLetter.of(b"raw", Malformed(reason, "why"), "a/0/1", TS, asset_id)
    sent = {name: value.decode() for name, value in letter.headers()}
    validate("dead_letter_headers", sent)
    validate("record_headers", sent)
    assert sent.keys() <= schemas.schema("dead_letter_headers")["properties"].keys()


def test_the_headers_of_records_as_sent_obey():
    headers = records.cloud_event(
        type_="batch.v1", id_="i", source="/s", subject="a", time_ms=TS, content_type=batches.CONTENT_TYPE
    )
    sent = {name: value.decode() for name, value in headers}
    validate("record_headers", sent)
    assert sent.keys() == schemas.schema("record_headers")["properties"].keys()
