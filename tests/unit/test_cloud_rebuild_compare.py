"""What a twin rebuilt from some time on takes from the live one, which knows what came before."""

from typing import Any

from cloud.rebuild_compare import overlay

SINCE_MS = 1_000


def finding(detector: str, since_ms: int, severity: str = "watch") -> dict[str, Any]:
    return {"detector": detector, "subject": "s", "severity": severity, "since": since_ms}


def twin(signals: dict[str, Any], findings: list[dict[str, Any]], fold: dict[str, Any], frames: int) -> dict[str, Any]:
    return {
        "_id": "a",
        "schema_version": 3,
        "signals": {"Vehicle": {name: {"value": value, "ts": ts} for name, (value, ts) in signals.items()}},
        "health": {"status": "ok", "worst": None, "open": findings},
        "counters": {"frames": frames},
        "fold": fold,
    }


def test_of_each_signal_the_newer_wins_and_of_equal_times_the_rebuilt() -> None:
    live = twin({"Speed": (1, 5), "Odometer": (7, 9), "Old": (3, 1)}, [], {}, 9)
    rebuilt = twin({"Speed": (2, 5), "Odometer": (6, 8), "New": (4, 1)}, [], {}, 1)
    merged = overlay(rebuilt, live, SINCE_MS)["signals"]["Vehicle"]
    assert {name: leaf["value"] for name, leaf in merged.items()} == {"Speed": 2, "Odometer": 7, "Old": 3, "New": 4}


def test_what_was_counted_and_seen_is_the_live_twins() -> None:
    live = twin({}, [], {"windows": ["w"], "positions": ["p"]}, 9)
    merged = overlay(twin({}, [], {"windows": ["other"]}, 1), live, SINCE_MS)
    assert merged["counters"] == {"frames": 9}
    assert (merged["fold"]["windows"], merged["fold"]["positions"]) == (["w"], ["p"])


def test_a_finding_from_before_goes_on_with_its_state_and_the_others_are_the_rebuilt_twins() -> None:
    live = twin(
        {}, [finding("kept", 999, "service"), finding("wrong", 1_500)], {"detectors": {"kept": 1, "wrong": 1}}, 9
    )
    again = [finding("kept", 1_200), finding("found", 1_300, "critical")]
    merged = overlay(twin({}, again, {"detectors": {"kept": 2, "wrong": 2, "found": 2}}, 1), live, SINCE_MS)
    shown = [(one["detector"], one["since"]) for one in merged["health"]["open"]]
    assert shown == [("found", 1_300), ("kept", 999)]
    assert (merged["health"]["status"], merged["health"]["worst"]) == ("critical", "found")
    assert merged["fold"]["detectors"] == {"kept": 1, "wrong": 2, "found": 2}


def test_what_closed_before_is_remembered_unless_it_closed_again() -> None:
    old, new = ["d", "s", "id1", 1, 900], ["d", "s", "id2", 1_100, 1_200]
    other, late = ["e", "s", "id3", 1, 900], ["f", "s", "id4", 1, 1_500]
    merged = overlay(twin({}, [], {"closed": [new]}, 1), twin({}, [], {"closed": [old, other, late]}, 9), SINCE_MS)
    assert merged["fold"]["closed"] == [new, other]
