"""Finds the frames that will most likely change nothing but numbers, as far as one can tell from each by itself.

Only a record with one frame, alone in its turn, is looked at: what devices that speak rarely send. Pure.
"""

from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from cloud.detectors.base import Indices
from cloud.forms import Filled, Form
from cloud.inbox import Record
from cloud.twin import Twin
from wire import limits, quick
from wire.messages import Frame
from wire.topics import FLEET_SIGNALS, Channel

FEW: Final = 8
"""Frames of one form for which whole columns are worth their start: 150 µs, with detectors 270."""
_ORDERS_MAX: Final = 2_000


class Order(NamedTuple):
    """How frames that name their signals in one way lie in a form: `types` of the values as sent, `texts` and
    `columns`: where the frame has what the form calls so, in the form's order."""

    types: tuple[type, ...]
    texts: tuple[int, ...]
    columns: Indices


class Part(NamedTuple):
    """Of a frame what changes a document, beside the values."""

    record: Record
    twin: Twin
    filled: Filled
    ts_ms: int
    seq: int
    received_ms: int


@dataclass(slots=True)
class Group:
    """Frames of one form and order. `values`: of one frame after the other, as sent; 0 for texts."""

    form: Form
    order: Order
    parts: list[Part] = field(default_factory=list)
    values: "array[float]" = field(default_factory=lambda: array("d"))


class Picker:
    """Finds the plain frames among records, as far as one can tell from each by itself."""

    def __init__(self, twin_of: Callable[[bytes], Twin | None], few: int = FEW) -> None:
        self._twin_of, self.few = twin_of, few
        self._orders: dict[tuple[Form, tuple[Any, ...]], Order] = {}

    def pick(self, records: list[Record]) -> tuple[list[Group], list[Record]]:
        """Groups, and the other records in their order."""
        groups: dict[tuple[Form, tuple[Any, ...]], Group] = {}
        times = Counter([record.key for record in records])
        rest = [
            record
            for record in records
            if record.topic != FLEET_SIGNALS or times[record.key] > 1 or not self._take(record, groups)
        ]
        several = [group for group in groups.values() if len(group.parts) >= self.few]
        for group in groups.values():
            group.form.popular = False
            if len(group.parts) < self.few:
                rest += [part.record for part in group.parts]
        for group in several:
            group.form.popular = True
        return several, rest

    def _take(self, record: Record, groups: dict[tuple[Form, tuple[Any, ...]], Group]) -> bool:
        twin = self._twin_of(record.key)
        filled = None if twin is None else twin.filled
        if twin is None or filled is None:
            return False
        batch = quick.batch(record.value or b"", 2 * limits.BATCH_BYTES_MAX)
        if batch is None or not len(batch.payloads) == len(batch.received_ms) == len(batch.sequence_offsets) == 1:
            return False
        if batch.asset_id != twin.asset_id or batch.kind is not twin.kind or batch.channel is not Channel.SIGNALS:
            return False
        frame = quick.frame(batch.payloads[0])
        if frame is None or frame.seq is None or frame.dt is not None or frame.capture is not None or frame.urgent:
            return False
        sender = (record.partition, record.generation, frame.session, batch.gateway)
        if batch.replay is not None or sender != filled.sender:
            return False
        names = tuple(frame.signals)
        group = groups.get((filled.form, names))
        if group is None:
            order = self._order(filled.form, names, twin)
            if order is None:
                return False
            group = groups[filled.form, names] = Group(filled.form, order)
        values = _values(frame, group.order, filled)
        if values is None:
            return False
        group.values += values
        group.parts.append(Part(record, twin, filled, frame.ts, frame.seq, batch.received_ms[0]))
        return True

    def _order(self, form: Form, names: tuple[Any, ...], twin: Twin) -> Order | None:
        order = self._orders.get((form, names))
        if order is None:
            order = _order_of(form, names, twin)
            if order is not None:  # of other names there may be any number
                if len(self._orders) >= _ORDERS_MAX:
                    self._orders.clear()
                self._orders[form, names] = order
        return order


def _order_of(form: Form, names: tuple[Any, ...], twin: Twin) -> Order | None:
    checks = [quick.CHECKS[twin.kind].get(name) for name in names]
    places = {check[0]: place for place, check in enumerate(checks) if check is not None}
    if len(places) != len(names) or places.keys() != {*form.values, *form.texts}:
        return None
    types = tuple(type(None) if check is None or check[0] in form.texts else check[1] or str for check in checks)
    columns = np.array([places[number] for number in form.values], dtype=np.intp)
    return Order(types, tuple(places[number] for number in form.texts), columns)


def _values(frame: Frame, order: Order, filled: Filled) -> "array[float] | None":
    """As sent, if they have the types of their signals and the texts are those that the document has."""
    values: list[Any] = [*frame.signals.values()]
    if order.texts:
        if [values[place] for place in order.texts] != filled.texts:
            return None
        for place in order.texts:
            values[place] = None
    if tuple(map(type, values)) != order.types:
        return None
    for place in order.texts:
        values[place] = 0.0
    try:
        return array("d", values)
    except OverflowError:  # JSON has integers of any length
        return None
