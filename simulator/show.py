"""What people see: a line that moves while a run lasts, and a table at its end."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.status import Status
from rich.table import Table

from simulator.running import Numbers

BEHIND_S: Final = 2.0
"""Messages that are later than this are called late: the fleet does not keep its schedule."""
_LATE: Final = "this fleet cannot keep its schedule"
_ADVICE: Final = "take fewer vehicles, a longer --interval or a smaller --speedup"


class Progress:
    """Shows numbers on a terminal; quiet where stderr is none. A context manager around the work."""

    def __init__(self) -> None:
        self._is_told = False
        is_terminal = sys.stderr.isatty()
        self._status = Status("connecting", console=Console(stderr=True)) if is_terminal else None

    def show(self, numbers: Numbers) -> None:
        if self._status is None:
            if numbers.behind_s > BEHIND_S and not self._is_told:
                self._is_told = True
                sys.stderr.write(f"{_LATE}: {numbers.behind_s:,.1f} s behind; {_ADVICE}\n")
            return
        late = f"  [red]{numbers.behind_s:,.1f} s behind[/]" if numbers.behind_s > BEHIND_S else ""
        simulated = datetime.fromtimestamp(numbers.simulated_time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        counted = f"{numbers.frames:,} frames  {numbers.events:,} events  {numbers.acknowledged:,} acknowledged"
        self._status.update(f"{counted}  {simulated}{late}")

    def shown(self) -> AbstractContextManager[Any]:
        """While this is entered the line is on screen."""
        return self._status if self._status is not None else nullcontext()


_LABELS: Final = {
    "published": "facts published",
    "profiles": "profiles",
    "roles": "ownership periods and other roles",
    "lifecycle_steps": "lifecycle steps",
    "recorded_assets": "of recorded assets",
    "frames": "frames",
    "events": "events",
    "connections": "connection messages",
    "repeated": "sent twice",
    "delayed": "sent late",
    "dropped": "dropped by devices without a link",
    "updated": "devices with new firmware",
    "serviced": "cars serviced",
    "skipped": "values left out",
    "acknowledged": "acknowledged",
    "unacknowledged": "not acknowledged",
    "refused": "refused by the broker",
    "wall_s": "seconds",
    "messages_per_s": "messages a second",
    "core_share": "share of a core",
    "speedup_reached": "times real time",
}


def complaint(summary: Mapping[str, Any]) -> str | None:
    """What to say of a run that ended late. What it sent is what it would have sent in time."""
    if summary.get("behind_s", 0.0) <= BEHIND_S or "speedup_reached" not in summary:
        return None
    asked, reached = summary["speedup"], summary["speedup_reached"]
    return f"{_LATE}: {asked:,g} times real time was asked for, {reached:,.1f} reached; {_ADVICE}"


def summary_table(summary: Mapping[str, Any]) -> Table:
    """A summary for people."""
    table = Table(box=None, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, label in _LABELS.items():
        if name in summary:
            value = summary[name]
            table.add_row(label, f"{value:,.2f}" if isinstance(value, float) else f"{value:,}")
    for name, value in summary.get("lateness_s", {}).items():
        table.add_row(f"lateness {name}", f"{value * 1_000:,.1f} ms")
    for fault, counts in summary.get("faults", {}).items():
        table.add_row(f"fault {fault}", f"{counts.get('begun', 0)} begun, {counts.get('visible', 0)} visible")
    return table
