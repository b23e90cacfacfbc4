"""Figures in the order in which they were measured, with what can be said about them."""

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import figures
from benchmarks.figures import Row


@dataclass(slots=True)
class Report:
    """`name` is that of the file with the results."""

    name: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, unit: str) -> None:
        """A figure without a target."""
        self.rows.append(Row(name, _short(value), unit))

    def at_least(self, name: str, value: float, unit: str, reference: float, factor: float) -> None:
        """A figure that should be `factor` times its reference or more."""
        met = bool(reference) and value / reference >= factor
        self.rows.append(Row(name, _short(value), unit, _short(reference), f">= {factor:g} x", met))

    def below(self, name: str, value: float, unit: str, limit: float) -> None:
        """A figure that should stay below a limit."""
        self.rows.append(Row(name, _short(value), unit, target=f"< {limit:g} {unit}", met=value < limit))

    def show(self) -> None:
        """The table, on the terminal."""
        figures.show(self.name, self.rows, self.notes)

    def write(self, directory: Path = figures.DIRECTORY) -> Path:
        """The file; replaced as a whole."""
        path = directory / f"{self.name}.json"
        figures.write(path, self.rows, self.notes)
        return path


def _short(value: float) -> float:
    """Four digits are more than a measurement has."""
    return float(f"{value:.4g}")
