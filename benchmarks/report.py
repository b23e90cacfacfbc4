"""What every benchmark ends with: a table for people and `results/<name>.json` for comparison."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import psutil
from rich.console import Console
from rich.table import Table

RESULTS: Final = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `reference`: what it is measured against in the same run; `ratio`: value to reference.

    `met`: whether the target is reached, None where there is none or where it cannot be judged.
    """

    name: str
    value: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


@dataclass(slots=True)
class Report:
    """Rows in the order in which they were measured."""

    name: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str) -> None:
        """A figure without a target."""
        self.rows.append(Row(name, _short(value), unit))

    def at_least(self, name: str, value: float, unit: str, reference: float, factor: float) -> None:
        """A figure that should be `factor` times its reference or more."""
        ratio = value / reference if reference else 0.0
        self.rows.append(
            Row(name, _short(value), unit, _short(reference), round(ratio, 3), f">= {factor:g} x", ratio >= factor)
        )

    def below(self, name: str, value: float, unit: str, limit: float) -> None:
        """A figure that should stay below a limit."""
        self.rows.append(Row(name, _short(value), unit, target=f"< {limit:g} {unit}", met=value < limit))

    def show(self) -> None:
        """The table, on the terminal."""
        table = Table("what", "value", "unit", "reference", "ratio", "target", "met", box=None)
        for row in self.rows:
            met = {True: "yes", False: "NO", None: ""}[row.met]
            table.add_row(row.name, _text(row.value), row.unit, _text(row.reference), _text(row.ratio), row.target, met)
        Console(width=160).print(table)
        for note in self.notes:
            Console(width=160).print(f"- {note}", markup=False)

    def write(self, directory: Path = RESULTS) -> Path:
        """The file; replaced as a whole."""
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / f"{self.name}.json"
        content = {"machine": machine(), "notes": self.notes, "rows": [asdict(row) for row in self.rows]}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return path


def machine() -> dict[str, str | int | float]:
    """Where it was measured, without naming anybody."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _short(value: float) -> float:
    """Four digits are more than a measurement has."""
    return float(f"{value:.4g}")


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
