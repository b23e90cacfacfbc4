"""The options of `twins find` → what to ask MongoDB, or every fault of the options. Pure."""

from datetime import datetime
from typing import NamedTuple

from cloud.queries import conditions, ordering, signals
from cloud.queries.asking import Known, Options
from cloud.queries.conditions import Condition
from cloud.queries.faults import Fault
from cloud.queries.ordering import Order
from cloud.queries.parsing import Point
from cloud.queries.signals import Comparison
from cloud.validators import STATUSES
from wire.catalogue import Signal
from wire.topics import Kind


class Query(NamedTuple):
    """`condition` says which twins; `parts` are read one after the other, each in the order of `keys`.

    Without keys it is the nearest to `point` first. `signals` are those that were asked about; `notes` are for the
    person who asks.
    """

    condition: Condition
    parts: tuple[Condition, ...]
    keys: list[tuple[str, int]]
    signals: tuple[Signal, ...]
    point: Point | None
    notes: tuple[str, ...]


def build(options: Options, known: Known, now: datetime) -> Query | list[Fault]:
    """The query, or all that is wrong with the options."""
    asked = conditions.read(options, known, now)
    parsed = [signals.parse(text) for text in options.where]
    comparisons = [one for one in parsed if isinstance(one, Comparison)]
    place = conditions.place(options)
    order = _order(options, comparisons)
    faults = [one for one in (*asked, place, order) if isinstance(one, Fault)]
    faults += [Fault(f"--where: {one.text}") for one in parsed if isinstance(one, Fault)]
    if faults or isinstance(place, Fault) or isinstance(order, Fault):
        return faults
    shown = _shown(comparisons, order)
    strangers = _of_no_kind(options, shown)
    if strangers:
        return [strangers]
    wanted = [one for one in asked if isinstance(one, dict)]
    notes, implied = _index_or_note(options, shown, bool(wanted) or place is not None)
    wanted += implied + [comparison.condition() for comparison in comparisons]
    if order.signal is not None and all(one.signal != order.signal for one in comparisons):
        wanted.append(signals.known(order.signal))
        notes.append(f"twins without a value of {order.signal.path} are left out by --sort")
    if order.by == ordering.LAST_SEEN and not (wanted or place):
        wanted = [{"kind": {"$in": [str(kind) for kind in Kind]}}]  # every twin, by an index: then they are sorted
    return _query(wanted, place, order, shown, notes)


def _query(
    wanted: list[Condition], place: tuple[Point, float] | None, order: Order, shown: list[Signal], notes: list[str]
) -> Query:
    condition = _all_of([*wanted, conditions.circle(*place)] if place else wanted)
    parts: tuple[Condition, ...] = (condition,)
    if order.by == "health":
        parts = tuple(_all_of([condition, {"health.status": status}]) for status in STATUSES[:: order.direction])
    return Query(condition, parts, order.keys, tuple(shown), place[0] if place else None, tuple(notes))


def _order(options: Options, comparisons: list[Comparison]) -> Order | Fault:
    if options.sort is None:
        return ordering.default(options, comparisons)
    order = ordering.parse(options.sort)
    if isinstance(order, Order) and order.by == "distance" and options.near is None:
        return Fault("--sort: distance needs --near LATITUDE,LONGITUDE")
    return order


def _shown(comparisons: list[Comparison], order: Order) -> list[Signal]:
    ordered = [order.signal] if order.signal else []
    return list(dict.fromkeys([comparison.signal for comparison in comparisons] + ordered))


def _of_no_kind(options: Options, shown: list[Signal]) -> Fault | None:
    kinds = {str(signal.kind): signal.path for signal in shown}
    if options.kind is not None:
        kinds.setdefault(options.kind, f"--kind {options.kind}")
    if len(kinds) < 2:
        return None
    return Fault(f"no asset has both {' and '.join(kinds.values())}: one is of a vehicle, the other of a station")


def _index_or_note(options: Options, shown: list[Signal], others: bool) -> tuple[list[str], list[Condition]]:
    """A signal without an index of its own is looked for among the twins of its kind."""
    unindexed = [signal for signal in shown if not signal.search]
    if not unindexed:
        return [], []
    paths, kind = ", ".join(signal.path for signal in unindexed), unindexed[0].kind
    narrowed = others or len(unindexed) < len(shown)
    read = "every twin that the other filters match" if narrowed else f"every {kind}"
    note = f"{paths}: no index of its own, so {read} is read"
    return [note], [] if options.kind else [{"kind": str(kind)}]


def _all_of(wanted: list[Condition]) -> Condition:
    if len(wanted) < 2:
        return wanted[0] if wanted else {}
    return {"$and": wanted}
