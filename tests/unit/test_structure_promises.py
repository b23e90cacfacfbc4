"""ARCHITECTURE.md says what keeps each promise and which tests guard it: the table names only what is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "ARCHITECTURE.md").read_text()
ROWS = re.findall(r"^\| (\d) \| (.+) \| (.+) \|$", TEXT, re.MULTILINE)


def test_every_promise_has_a_row() -> None:
    promises = TEXT.split("## Promises", 1)[1].split("\n## ", 1)[0]
    assert [number for number, _, _ in ROWS] == re.findall(r"^(\d)\. \*\*", promises, re.MULTILINE) != []


@pytest.mark.parametrize(("code", "tests"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_what_a_row_names_is_there(code: str, tests: str) -> None:
    assert [name for name in re.findall(r"`(.+?)`", code) if not (ROOT / name).is_file()] == []
    for group in tests.split("; "):
        file, *names = re.findall(r"`(.+?)`", group)
        defined = set(re.findall(r"^def (test_\w+)\(", (ROOT / file).read_text(), re.MULTILINE))
        assert names
        assert set(names) - defined == set()
