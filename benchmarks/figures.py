"""The form of every benchmark's result: a table for people, a JSON file with the machine and one row per figure."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from rich.console import Console
from rich.table import Table

DIRECTORY: Final = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """A figure. `reference` is from the same run, `ratio` is value / reference; `met` None: nothing is aimed at."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    target: str | None = None
    met: bool | None = None

    @property
    def ratio(self) -> float | None:
        return None if not self.reference else self.value / self.reference


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def show(title: str, rows: Sequence[Row], notes: Sequence[str] = ()) -> None:
    """The table, and below it what is to be said about it."""
    table = Table(title=title, title_justify="left")
    for name in ("figure", "value", "unit", "reference", "ratio", "target", "met"):
        table.add_column(name, justify="left" if name in ("figure", "unit", "met") else "right", no_wrap=True)
    for row in rows:
        met = "" if row.met is None else "yes" if row.met else "NO"
        table.add_row(
            row.name, _shown(row.value), row.unit, _shown(row.reference), _shown(row.ratio), row.target or "", met
        )
    # wide enough for every figure, also where nobody set the width
    console = Console(width=max(150, Console().width))
    console.print(table)
    for note in notes:
        console.print(f"- {note}", markup=False)


def _shown(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}" if abs(number) >= 1_000 else f"{number:.3g}"


def write(path: Path, rows: Sequence[Row], notes: Sequence[str] = ()) -> None:
    """The file."""
    listed = [{**asdict(row), "ratio": row.ratio} for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "notes": list(notes), "rows": listed}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
