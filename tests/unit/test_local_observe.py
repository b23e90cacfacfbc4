"""Numbers of a run: read from whatever is there, and never mistaken for an end that is not one."""

import io
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from rich.console import Console

from local import observe, ports, view, waiting
from local.findings import Findings, FindingsReader
from local.observe import Sent, Snapshot
from local.view import HOPS, LiveView, PlainView, Rates
from local.watch import Watch
from runtime.health import Health, HealthServer
from runtime.settings import HttpSettings

EDGE = {"received": 100, "delivered": 100, "undelivered": 0}
CLOUD = {"folded": 100, "lag_records": 0, "idle_ms": 5_000, "twins": 7, "oldest_twin_age_ms": 1_500}


Numbers = Mapping[str, int] | None


def snapshot(at_s: float = 0.0, acknowledged: int = 100, edge: Numbers = EDGE, cloud: Numbers = CLOUD) -> Snapshot:
    return Snapshot(at_s, Sent(acknowledged, acknowledged), edge, cloud)


def write(truth: Path, **values: object) -> Path:
    truth.mkdir(exist_ok=True)
    (truth / "progress.json").write_text(json.dumps(values))
    return truth


def test_progress_sums_all_simulators_and_is_finished_when_all_are(tmp_path: Path) -> None:
    fleet = write(tmp_path / "a", frames=10, events=2, acknowledged=11, simulated_time_ms=5, finished=True)
    other = write(tmp_path / "b", frames=1, events=0, acknowledged=1, simulated_time_ms=9, finished=False)
    assert observe.progress([fleet, other]) == Sent(13, 12, 9, False)
    assert observe.progress([fleet]).finished


def test_a_progress_file_that_is_absent_or_half_written_counts_as_unfinished(tmp_path: Path) -> None:
    half = write(tmp_path / "half")
    (half / "progress.json").write_text('{"frames": 1')
    assert observe.progress([half, tmp_path / "absent"]) == Sent(0, 0, 0, False)


@pytest.mark.parametrize("healthy", [True, False])
def test_a_service_that_is_not_well_still_tells_its_numbers(healthy: bool) -> None:
    with HealthServer(HttpSettings(), CollectorRegistry(), lambda: Health(healthy, {"folded": 3})) as server:
        assert observe.health(server.port) == {"healthy": healthy, "folded": 3}


def test_a_service_that_is_away_is_none() -> None:
    assert observe.health(ports.free_port()) is None


def test_all_received_delivered_folded_and_idle_is_drained() -> None:
    assert snapshot().drained


@pytest.mark.parametrize(
    "now",
    [
        snapshot(edge=None),
        snapshot(cloud=None),
        snapshot(acknowledged=101),
        snapshot(edge=EDGE | {"undelivered": 1}),
        snapshot(cloud=CLOUD | {"lag_records": 1}),
        snapshot(cloud=CLOUD | {"idle_ms": 100}),
        snapshot(edge={}),
    ],
    ids=["no edge", "no cloud", "in the broker", "in the spool", "in Kafka", "not idle", "numbers missing"],
)
def test_anything_under_way_or_unknown_is_not_drained(now: Snapshot) -> None:
    assert not now.drained


def test_rates_are_over_the_last_seconds_and_never_negative() -> None:
    rates = Rates()
    folded = HOPS[-1]
    for second in range(10):
        rates.add(snapshot(at_s=float(second), cloud=CLOUD | {"folded": 100 * second}))
    assert rates.of(folded) == pytest.approx(100)
    rates.add(snapshot(at_s=10.0, cloud=CLOUD | {"folded": 0}))
    assert rates.of(folded) == 0


def test_the_plain_view_prints_a_line_at_each_phase_and_not_at_each_look() -> None:
    out = io.StringIO()
    with PlainView(Console(file=out, width=40)) as plain:
        for _ in range(5):
            plain.show("running", 3.0, snapshot(), Findings({"tyre_low": 2}))
        plain.show("draining", 65.0, snapshot(), Findings())
    first, second = out.getvalue().splitlines()
    assert first.startswith("running 00:03")
    assert "twins 7 (oldest 1.5 s)" in first
    assert "tyre_low 2" in first
    assert second.startswith("draining 01:05")


def test_the_live_view_shows_each_hop_with_its_count() -> None:
    out = io.StringIO()
    with LiveView(Console(file=out, force_terminal=True, width=100), "a fleet") as live:
        live.show("running", 3.0, snapshot(acknowledged=12_345), Findings())
    for text in (*(hop.name for hop in HOPS), "12,345", "a fleet", "running 00:03"):
        assert text in out.getvalue()


def test_hours_are_shown_when_there_are_any() -> None:
    assert (view.clock(59.9), view.clock(61), view.clock(3_725)) == ("00:59", "01:01", "1:02:05")


class _Observer(observe.Observer):
    def __init__(self, snapshots: list[Snapshot]) -> None:
        self._snapshots = snapshots

    def snapshot(self) -> Snapshot:
        return self._snapshots.pop(0)._replace(at_s=time.monotonic())


class _Findings(FindingsReader):
    def __init__(self) -> None:
        """No store."""

    def read(self) -> Findings:
        return Findings()

    def close(self) -> None:
        return


def watch(snapshots: list[Snapshot], stop: threading.Event) -> Watch:
    return Watch(_Observer(snapshots), _Findings(), PlainView(Console(file=io.StringIO())), stop, lambda: None)


def test_draining_ends_only_after_it_was_quiet_for_a_while() -> None:
    rest = [snapshot()] * 20
    began = time.monotonic()
    with watch([snapshot(), snapshot(cloud=CLOUD | {"lag_records": 5}), *rest], threading.Event()) as seen:
        assert seen.until_drained("draining", 10)
    assert time.monotonic() - began > 2.9


def test_draining_gives_up_at_its_limit() -> None:
    with watch([snapshot(acknowledged=200)] * 20, threading.Event()) as seen:
        assert not seen.until_drained("draining", 0.6)


def test_stopping_ends_any_wait_at_once() -> None:
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    began = time.monotonic()
    with pytest.raises(waiting.InterruptedByUserError), watch([snapshot(acknowledged=200)] * 20, stop) as seen:
        seen.until_drained("draining", 30)
    assert time.monotonic() - began < 1


def test_background_work_that_is_told_to_stop_ends_before_the_interruption_is_reported() -> None:
    stop, told, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        told.wait(10)
        ended.set()

    threading.Timer(0.1, stop.set).start()
    with pytest.raises(waiting.InterruptedByUserError):
        waiting.in_background(work, stop, told.set)
    assert ended.is_set()


def test_background_work_hands_over_its_result_and_its_error() -> None:
    assert waiting.in_background(lambda: 7, threading.Event(), lambda: None) == 7
    with pytest.raises(ZeroDivisionError):
        waiting.in_background(lambda: 1 // 0, threading.Event(), lambda: None)


def test_workers_are_one_service() -> None:
    """Their counts add up; it is idle for as long as all of them are, and silent while one is."""
    first, second = {**CLOUD, "healthy": True}, {"folded": 3, "lag_records": 2, "idle_ms": 400, "twins": 0}
    assert observe.together([first, second]) == {**CLOUD, "folded": 103, "lag_records": 2, "idle_ms": 400, "healthy": 1}
    assert observe.together([first, None]) is None
