"""`fleetfold-edge rules` and the rules file in the configuration, as people use them."""

import gzip
import json
from pathlib import Path

import msgpack
import pytest
from typer.testing import CliRunner

from edge import receive, recorded, rules_store
from edge.cli import app
from edge.clock import SystemClock
from edge.recorded import UnreadableError
from edge.spool import records
from edge.spool import series as names
from edge.spool.disk import Directory
from edge.spool.spool import Limits, Spool
from tests import edge_rules_world as world
from tests.edge_rules_world import AIR, NOW_MS, SPEED, capture, rule
from wire import codec

RUN = CliRunner()


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.json"
    rules = [rule("r", signals=[SPEED], deadband=1.0, snapshot_s=1000), capture(f"{SPEED} > 50", before_s=5)]
    path.write_bytes(codec.to_json({"version": 7, "rules": rules}))
    return path


@pytest.fixture
def bad_file(tmp_path: Path) -> Path:
    path = tmp_path / "bad.toml"
    path.write_text('version = 1\n[[rules]]\nname = "a"\nkind = "vehicle"\nmode = "all"\nsignals = ["Vehicle.Sped"]\n')
    return path


def test_a_good_set_is_called_good(rules_file: Path) -> None:
    result = RUN.invoke(app, ["rules", "check", str(rules_file)])
    assert (result.exit_code, result.output.split(",")[0]) == (0, "version 7")
    shown = json.loads(RUN.invoke(app, ["rules", "check", str(rules_file), "--json"]).output)
    assert shown["faults"] == []
    assert shown["rules"][0] == {"name": "r", "kind": "vehicle", "signals": 1}


def test_faults_are_shown_with_place_and_advice_and_make_an_exit_code(bad_file: Path) -> None:
    result = RUN.invoke(app, ["rules", "check", str(bad_file)])
    assert result.exit_code == 2
    assert "rules[0].signals[0]" in result.output
    shown = json.loads(RUN.invoke(app, ["rules", "check", str(bad_file), "--json"]).output)
    assert shown["faults"][0]["advice"] == "did you mean Vehicle.Speed?"


def test_a_configuration_with_a_faulty_rules_file_is_faulty(bad_file: Path, tmp_path: Path) -> None:
    config = tmp_path / "edge.toml"
    config.write_text(f'[spool]\ndirectory = "{tmp_path}/spool"\n[rules]\nfile = "{bad_file}"\n')
    result = RUN.invoke(app, ["run", "--config", str(config), "--check"])
    assert result.exit_code == 2
    assert "rules.file" in result.output
    assert "did you mean Vehicle.Speed?" in result.output


def drive() -> list[records.Message]:
    speeds = [10.0, 10.5, 10.9, 20.0, 20.1, 60.0]
    return [world.message(at * 1000, {SPEED: each, AIR: 7.0}, seq=at) for at, each in enumerate(speeds)]


def truth(directory: Path) -> Path:
    directory.mkdir()
    entries = [["vehicle", "car-1", "signals", each.payload, True] for each in drive()]
    torn = msgpack.packb(entries[0])[:20]
    (directory / "sent.msgpack").write_bytes(b"".join(map(msgpack.packb, entries)) + torn)
    return directory


def spool(directory: Path) -> Path:
    disk = Directory(directory)
    opened = Spool.open(disk, Limits(8_388_608, 1_048_576, 65_536), SystemClock())
    arrivals: dict[bytes, receive.Arrival] = {}
    for each in drive():
        receive.add(arrivals, names.of(each.address), [each.payload], records.Run(NOW_MS, 1))
    opened.stage([arrival.bundle() for arrival in arrivals.values()])
    opened.commit()
    opened.close()
    disk.close()
    return directory


def table(path: Path) -> Path:
    rows = ["time_ms,asset_id,path,value"]
    for each in drive():
        frame = world.frame_of(each)
        rows += [f"{frame['ts']},car-1,{name},{value}" for name, value in frame["signals"].items()]
    with gzip.open(path, "wt") as file:
        file.write("\n".join(rows))
    return path


def exported(path: Path, form: str) -> Path:
    directory, file = spool(path), path.with_suffix(f".{form}")
    result = RUN.invoke(app, ["spool", "export", str(directory), "--format", form, "--output", str(file)])
    assert result.exit_code == 0, result.output
    return file


def jsonl(path: Path) -> Path:
    return exported(path, "jsonl")


def stream(path: Path) -> Path:
    return exported(path, "msgpack")


@pytest.mark.parametrize("form", ["truth", "spool", "table", "jsonl", "stream"])
def test_a_trial_tells_how_much_would_be_sent_of_what_was_recorded(rules_file: Path, tmp_path: Path, form: str) -> None:
    make = {"truth": truth, "spool": spool, "table": table, "jsonl": jsonl, "stream": stream}[form]
    frames = make(tmp_path / ("drive.csv.gz" if form == "table" else form))
    result = RUN.invoke(app, ["rules", "try", str(rules_file), "--frames", str(frames), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert {key: found[key] for key in ("frames", "frames_sent", "samples", "samples_sent")} == {
        "frames": 6, "frames_sent": 7, "samples": 12, "samples_sent": 12,
    }  # fmt: skip
    assert found["rules"] == [
        {"rule": "r", "kept": 3, "withheld": 3, "captures": 0, "captured": 0},
        {"rule": "unnamed", "kept": 6, "withheld": 0, "captures": 0, "captured": 0},
        {"rule": "c", "kept": 0, "withheld": 0, "captures": 1, "captured": 3},
    ]
    assert found["bytes_sent"] > 0
    assert "withheld" in RUN.invoke(app, ["rules", "try", str(rules_file), "--frames", str(frames)]).output


def test_a_trial_on_what_is_no_recording_says_so(rules_file: Path, tmp_path: Path) -> None:
    (tmp_path / "x.msgpack").write_bytes(msgpack.packb([1, 2]))
    (tmp_path / "x.jsonl").write_text("{")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    (tmp_path / "y.csv").write_text("time_ms,asset_id,path,value\n1,car-1,Vehicle.Sped,3\n")
    for name, problem in (
        ("x.msgpack", "entry 1"),
        ("x.jsonl", "line 1"),
        ("x.csv", "columns"),
        ("y.csv", "line 2"),
        ("no", "No such file"),
    ):
        result = RUN.invoke(app, ["rules", "try", str(rules_file), "--frames", str(tmp_path / name)])
        assert result.exit_code == 1, name
        assert problem in result.output
    with pytest.raises(UnreadableError):
        list(recorded.read(tmp_path / "x.csv"))


def test_what_was_published_is_shown_from_the_spools_directory(tmp_path: Path) -> None:
    disk = Directory(tmp_path / "spool")
    rules_store.write(disk, {"all": codec.to_json({"version": "v9", "rules": [rule("r", "all")]})})
    disk.close()
    shown = json.loads(RUN.invoke(app, ["rules", "show", str(tmp_path / "spool"), "--json"]).output)
    assert [(each["origin"], each["version"]) for each in shown["sets"]] == [("all", "v9")]
    assert "v9" in RUN.invoke(app, ["rules", "show", str(tmp_path / "spool")]).output
    (tmp_path / "spool" / "rules").write_bytes(b"00000000 {}")
    assert RUN.invoke(app, ["rules", "show", str(tmp_path / "spool")]).exit_code == 1
    assert "nothing published" in RUN.invoke(app, ["rules", "show", str(tmp_path)]).output
