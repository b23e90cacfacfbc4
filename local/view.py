"""The live view: a terminal picture that refreshes in place, or one plain line every few seconds."""

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from local.findings import Findings
from local.observe import Snapshot

_RATE_WINDOW_S: Final = 3.0
_PLAIN_INTERVAL_S: Final = 5.0


class Hop(NamedTuple):
    """One step of the way from device to twin."""

    name: str
    count: Callable[[Snapshot], int]


HOPS: Final = (
    Hop("devices → MQTT broker", lambda now: now.sent.acknowledged),
    Hop("MQTT broker → edge agent", lambda now: now.edge_count("received")),
    Hop("edge agent → Kafka", lambda now: now.edge_count("delivered")),
    Hop("Kafka → twins folded", lambda now: now.cloud_count("folded")),
)


class Rates:
    """Messages a second at each hop over the last few seconds."""

    def __init__(self) -> None:
        self._snapshots: deque[Snapshot] = deque()

    def add(self, now: Snapshot) -> None:
        self._snapshots.append(now)
        while len(self._snapshots) > 2 and now.at_s - self._snapshots[1].at_s >= _RATE_WINDOW_S:
            self._snapshots.popleft()

    def of(self, hop: Hop) -> float:
        """0 while no time has passed; a service that was restarted counts from 0 again, never below."""
        first, last = self._snapshots[0], self._snapshots[-1]
        if last.at_s <= first.at_s:
            return 0.0
        return max(0.0, (hop.count(last) - hop.count(first)) / (last.at_s - first.at_s))


class View(Protocol):
    """Something that shows the run."""

    def show(self, phase: str, elapsed_s: float, now: Snapshot, findings: Findings) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LiveView:
    """Redraws in place. Only `show` draws; no refresh thread runs."""

    def __init__(self, console: Console, title: str) -> None:
        self._title = title
        self._rates = Rates()
        self._live = Live(console=console, auto_refresh=False)

    def show(self, phase: str, elapsed_s: float, now: Snapshot, findings: Findings) -> None:
        self._rates.add(now)
        head = Text.assemble((self._title, "bold"), f"   {phase} {clock(elapsed_s)}", _simulated(now))
        self._live.update(Group(head, "", self._hops(now), "", _twins(now), _open(findings), _latest(findings)))
        self._live.refresh()

    def _hops(self, now: Snapshot) -> RenderableType:
        table = Table("hop", box=None, pad_edge=False)
        table.add_column("messages/s", justify="right")
        table.add_column("messages", justify="right")
        table.add_column("waiting", justify="right")
        waiting = {HOPS[1].name: now.edge_count("undelivered"), HOPS[2].name: now.cloud_count("lag_records")}
        for hop in HOPS:
            behind = f"{waiting[hop.name]:,}" if hop.name in waiting else ""
            table.add_row(hop.name, f"{self._rates.of(hop):,.0f}", f"{hop.count(now):,}", behind)
        return table

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


class PlainView:
    """One line every five seconds and at each change of phase: for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rates = Rates()
        self._shown_at_s = -_PLAIN_INTERVAL_S
        self._phase = ""

    def show(self, phase: str, elapsed_s: float, now: Snapshot, findings: Findings) -> None:
        self._rates.add(now)
        if phase == self._phase and time.monotonic() - self._shown_at_s < _PLAIN_INTERVAL_S:
            return
        self._phase, self._shown_at_s = phase, time.monotonic()
        rates = " → ".join(f"{self._rates.of(hop):.0f}" for hop in HOPS)
        kinds = ", ".join(f"{name} {count}" for name, count in findings.open_by_detector.items()) or "none"
        self._console.print(
            f"{phase} {clock(elapsed_s)}  {rates} messages/s  folded {now.cloud_count('folded')}"
            f"  waiting {now.edge_count('undelivered')}+{now.cloud_count('lag_records')}  {_twins(now)}  open: {kinds}",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is held."""


def _simulated(now: Snapshot) -> str:
    if not now.sent.simulated_time_ms:
        return ""
    return datetime.fromtimestamp(now.sent.simulated_time_ms / 1000, UTC).strftime("   simulated %Y-%m-%d %H:%M:%S")


def _twins(now: Snapshot) -> str:
    age_s = now.cloud_count("oldest_twin_age_ms") / 1000
    owners, anomalies = now.cloud_count("owners_linked"), now.cloud_count("open_anomalies")
    return (
        f"twins {now.cloud_count('twins')} (oldest {age_s:.1f} s)  owners linked {owners}  open anomalies {anomalies}"
    )


def _open(findings: Findings) -> str:
    return "  ".join(f"{name} {count}" for name, count in findings.open_by_detector.items())


def _latest(findings: Findings) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for finding in findings.latest:
        colour = {"critical": "red", "service": "yellow"}.get(finding.severity, "")
        table.add_row(
            finding.opened.strftime("%H:%M:%S"),
            finding.asset_id,
            Text(finding.severity, colour),
            Text(finding.summary, overflow="ellipsis", no_wrap=True),
        )
    return table


def clock(seconds: float) -> str:
    """Minutes and seconds; hours when there are any."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes:02}:{left:02}"
