"""Logs of a process, as it really writes them to stderr."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BEGIN = """
import logging, sys, structlog
from runtime import logs
from runtime.settings import LogSettings
def configure(**given): logs.configure(LogSettings(**given))
log = structlog.get_logger()
def fails():
    password = "hunter2"
    raise ValueError("broken" + str(len(password)))
"""


def stderr(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    return done.stderr


def events(code: str) -> list[dict[str, Any]]:
    """Each line as JSON."""
    return [json.loads(line) for line in stderr(code).splitlines()]


def test_an_event_is_one_json_line_with_level_time_and_its_values():
    (event,) = events('configure(format="json"); log.info("started", port=5, raw=b"\\xff", path=["a"])')
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "started", "level": "info", "port": 5, "raw": repr(b"\xff"), "path": ["a"]}


def test_an_exception_is_one_json_line_without_local_variables():
    code = 'configure(format="json")\ntry: fails()\nexcept ValueError: log.exception("failed")'
    (event,) = events(code)
    assert event["event"] == "failed"
    assert event["exception"][0]["exc_type"] == "ValueError"
    assert [frame["name"] for frame in event["exception"][0]["frames"]] == ["<module>", "fails"]
    assert "hunter2" not in json.dumps(event)


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_form_of_a_traceback_shows_values_of_variables(form):
    code = f'configure(format="{form}")\ntry: fails()\nexcept ValueError: log.exception("failed")'
    assert "hunter2" not in stderr(code).replace('password = "hunter2"', "")


def test_what_libraries_log_has_the_same_form():
    code = """
configure(format="json")
library = logging.getLogger("pymongo.pool")
library.warning("retry %d", 3, extra={"server": "db"})
try: fails()
except ValueError: library.exception("job failed")
"""
    warning, failure = events(code)
    assert (warning["event"], warning["level"], warning["logger"], warning["server"]) == (
        "retry 3", "warning", "pymongo.pool", "db",
    )  # fmt: skip
    assert failure["exception"][0]["exc_value"] == "broken7"
    assert "hunter2" not in json.dumps(failure)


def test_libraries_are_heard_from_warnings_on_whatever_we_log():
    code = 'configure(format="json", level="debug"); logging.getLogger("x").info("chatter"); log.debug("ours")'
    assert [event["event"] for event in events(code)] == ["ours"]


def test_what_is_below_the_level_is_not_written():
    code = """
configure(format="json", level="error")
log.warning("no"); logging.getLogger("x").warning("no"); log.error("yes"); logging.getLogger("x").error("yes")
"""
    assert [event["event"] for event in events(code)] == ["yes", "yes"]


def test_configuring_twice_writes_no_line_twice_and_the_last_form_holds():
    code = """
configure(format="console"); configure(format="json"); configure(format="json")
log.info("ours"); logging.getLogger("x").warning("theirs")
"""
    assert [event["event"] for event in events(code)] == ["ours", "theirs"]


def test_a_logger_made_before_configuring_is_configured():
    assert events('early = structlog.get_logger(); configure(format="json"); early.info("hi")')[0]["event"] == "hi"


def test_context_is_in_every_line():
    code = """
configure(format="json")
structlog.contextvars.bind_contextvars(gateway="gw-1")
log.info("ours"); logging.getLogger("x").warning("theirs")
"""
    assert [event["gateway"] for event in events(code)] == ["gw-1", "gw-1"]


def test_without_a_terminal_the_form_is_json():
    assert events('configure(); log.info("hi")')[0]["event"] == "hi"


def test_the_console_form_has_no_colours_where_there_is_no_terminal():
    text = stderr('configure(format="console"); log.info("hi", port=5)')
    assert "hi" in text
    assert "port=5" in text
    assert "\x1b" not in text


def test_a_line_is_written_in_one_piece_so_that_nobody_elses_comes_between():
    """Our events and those of libraries, from several threads, on one stream that lets others in after each write."""
    told = events("""
import threading, time
class Slow:
    isatty, flush = staticmethod(lambda: False), staticmethod(lambda: None)
    def write(self, text):
        true.write(text); true.flush(); time.sleep(0.002)
true, sys.stderr = sys.stderr, Slow()
configure(format="json")
def ours():
    for number in range(50): log.info("ours", number=number)
def theirs():
    for number in range(50): logging.getLogger("theirs").warning("%d", number)
threads = [threading.Thread(target=each) for each in (ours, theirs)]
[each.start() for each in threads]; [each.join() for each in threads]
""")
    assert len(told) == 100
