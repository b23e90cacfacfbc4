"""`--sort` → the order of the answer. Pure.

An index has the orders by id, model, year and health. What frames change is sorted by the server in memory, the best of
those that an index finds: the indexes are on coarse copies, the order is exact.
"""

from typing import Final, NamedTuple

from cloud.indexes import value_field
from cloud.queries import signals
from cloud.queries.asking import Options
from cloud.queries.faults import Fault, closest
from cloud.queries.signals import Comparison
from wire import catalogue
from wire.catalogue import Signal

LAST_SEEN: Final = "connection.last_seen"
_FIELDS: Final = {
    "id": "_id",
    "model": "attributes.model",
    "year": "attributes.year",
    "last_seen": LAST_SEEN,
}
_ODOMETER: Final = catalogue.BY_PATH["Vehicle.TraveledDistance"]
NAMES: Final = (*_FIELDS, "health", "odometer", "distance")


class Order(NamedTuple):
    """By a field (`distance` and `health` have their own ways); `direction` 1 rises, -1 falls."""

    by: str
    direction: int = 1
    signal: Signal | None = None

    @property
    def keys(self) -> list[tuple[str, int]]:
        """For the server; `_id` makes the order the same each time."""
        if self.by == "distance":
            return []
        field = "_id" if self.by == "health" else self.by
        return [(field, self.direction)] if field == "_id" else [(field, self.direction), ("_id", self.direction)]


def parse(text: str) -> Order | Fault:
    """Read `--sort`: a name, or a signal with numbers or texts; `-` in front reverses."""
    name = text.strip().removeprefix("-")
    direction = -1 if text.strip().startswith("-") else 1
    if name in _FIELDS:
        return Order(_FIELDS[name], direction)
    if name == "distance" and direction < 0:
        return Fault("--sort: distance begins with the nearest; there is no -distance")
    if name in ("health", "distance"):
        return Order(name, direction)
    signal = _ODOMETER if name == "odometer" else signals.resolve(name)
    if isinstance(signal, Fault):
        near = closest(name, {known: known for known in NAMES})
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        return Fault(f"--sort: orders are {', '.join(NAMES)} or a signal{hint}; {signal.text}")
    if signal.type == "string[]":
        return Fault(f"--sort: {signal.path} is a list, which has no order")
    return Order(value_field(signal), direction, signal)


def default(options: Options, comparisons: list[Comparison]) -> Order:
    """Without `--sort`: nearest, else longest silent, else the most extreme of the first compared signal, else by
    year where several are asked for, else id."""
    if options.near is not None:
        return Order("distance")
    if options.silent_for is not None:
        return Order(_FIELDS["last_seen"])
    for comparison in comparisons:
        if comparison.direction is not None:
            return Order(value_field(comparison.signal), comparison.direction, comparison.signal)
    return Order(_FIELDS["year"] if options.year is not None else "_id")
