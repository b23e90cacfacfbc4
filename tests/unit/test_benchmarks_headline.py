"""The headline run's verdict on what it measured."""

import pytest

from benchmarks import headline_report, headline_watch
from benchmarks.headline_plan import Plan
from benchmarks.headline_run import IN_KAFKA, IN_SPOOL, Outcome
from benchmarks.headline_watch import Age, Moment, Use, Watcher

_LATE = {"p50": 0.0, "p99": 0.0}
_CLEAN = {"lost": 0, "doubled": 0, "wrong": 0, "sent": 1_000, "folded": 1_000, "differences": []}


def _moment(at_s: float, sent: float, folded: float, waiting: float) -> Moment:
    uses = {"mongod": Use(at_s, 2**30), "edge": Use(at_s / 2, 2**20)}
    return Moment(at_s, uses, {"sent_frames": sent, "folded": folded, IN_SPOOL: 0.0, IN_KAFKA: waiting})


def _outcome(folded: float, age_s: float, verdict: dict[str, object] = _CLEAN, waiting: float = 0.0) -> Outcome:
    plan = Plan(vehicles=100, duration_s=10, interval_s=1)
    moments = [_moment(0.0, 0.0, 0.0, 0.0), _moment(10.0, 1_000.0, folded, waiting)]
    return Outcome(plan, moments, [Age(5.0, age_s)], [], {"lateness_s": _LATE}, 1.0, dict(verdict), 1.0)


def test_a_fleet_is_sustained_when_all_is_folded_in_time_and_nothing_is_lost() -> None:
    assert headline_report.sustained(_outcome(1_000.0, 1.0))


@pytest.mark.parametrize(
    "outcome",
    [
        _outcome(900.0, 1.0),
        _outcome(1_000.0, 6.0),
        _outcome(1_000.0, 1.0, {**_CLEAN, "lost": 1}),
        _outcome(1_000.0, 1.0, {**_CLEAN, "doubled": 1}),
        _outcome(1_000.0, 1.0)._replace(drained_s=None),
        _outcome(1_000.0, 1.0)._replace(ages=[]),
    ],
    ids=["behind", "old", "lost", "doubled", "not drained", "nothing seen"],
)
def test_a_fleet_is_not_sustained_when_any_of_it_fails(outcome: Outcome) -> None:
    assert not headline_report.sustained(outcome)


def test_what_fell_behind_says_where_messages_wait_and_who_computes() -> None:
    ages, waiting, computing, history = headline_report.notes(_outcome(500.0, 7.0, waiting=500.0))
    assert "7.0" in ages
    assert "Kafka 0 and 500" in waiting
    assert computing.startswith("most of the processor: mongod 1.00 cores (20000 us a frame)")
    assert history.startswith("without history")


def test_the_processor_time_of_a_frame_counts_the_frames_that_passed_there() -> None:
    assert headline_report.frame_us(_outcome(500.0, 1.0)) == {"mongod": 20_000.0, "edge": 5_000.0}


def test_a_watcher_that_sees_nothing_new_says_by_how_much_twins_are_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher(list, dict, None, 10.0)  # type: ignore[arg-type]  # it is not begun: no database is asked
    monkeypatch.setattr("time.time", lambda: 100.0)
    watcher.stale.append(headline_watch.Stale(99.0, 30.0))
    assert watcher.typical_age_s() == 30.0
    watcher.ages += [Age(90.0, 1.0), Age(99.0, 3.0), Age(99.5, 5.0)]
    assert watcher.typical_age_s() == 4.0
