"""`fold(twin, deliveries)`: what a twin is after it heard them. Pure but for the twin that it changes.

Laws (tests/property): duplicates change nothing; any order of arrival gives the same signals, frames, events,
samples and gaps; any split into calls gives the same twin.
"""

import sys
from dataclasses import dataclass, field
from typing import Any, Final

from cloud.inbox import Delivery, Item
from cloud.twin import Twin
from cloud.window import Seen, Window
from wire import catalogue
from wire.catalogue import Value
from wire.frames import Reading, Sample
from wire.malformed import Malformed
from wire.messages import AnyEvent, ConnectionState, NotifyEvent, plain
from wire.topics import Channel, Kind

WINDOWS_MAX: Final = 24
"""Sessions remembered per twin. What claims an older, forgotten session is uncertain."""
POSITIONS_MAX: Final = 24
"""Partitions remembered per twin: those of three topics, and of what they were before they grew."""
_RUN_MIN: Final = 4
"""Messages of a record for which it is worth looking whether they can be folded together."""
_NAMES: Final = {channel: str(channel) for channel in Channel}


@dataclass(slots=True)
class Outcome:
    """What a fold brought besides the changed twin: for the detectors, the events collection, the metrics.

    `advances`: in log order, (source time in ms, the values that became the twin's newest).
    """

    advances: list[tuple[int, dict[int, Value]]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    replayed: int = 0
    folded: int = 0
    duplicates: int = 0
    uncertain: int = 0


def fold(twin: Twin, deliveries: list[Delivery]) -> Outcome:
    """Apply deliveries in order. One at or before the twin's position in its partition was applied already."""
    outcome = Outcome()
    for delivery in deliveries:
        at = delivery.position
        place = (delivery.topic, at.partition)
        seen = twin.positions.get(place)
        if seen is not None and seen.generation == at.generation and at.offset <= seen.offset:
            outcome.replayed += 1
            continue
        for item in delivery.items[_fold_run(twin, delivery, outcome) :]:
            _fold_item(twin, delivery, item, outcome)
        twin.positions[place] = at
        if delivery.channel is Channel.SIGNALS:
            twin.heard += len(delivery.items)
        if seen is None and len(twin.positions) > POSITIONS_MAX:
            del twin.positions[next(iter(twin.positions))]  # the longest known: an asset rarely moves
    return outcome


def _fold_run(twin: Twin, delivery: Delivery, outcome: Outcome) -> int:
    """Fold a record's first frames together, as long as each is as almost all are: of one session, with the number that
    is due, nothing refused, and one sample, newer than all before. Returns how many; the result is that of `_fold_item`
    for each."""
    items = delivery.items
    if len(items) < _RUN_MIN or delivery.channel is not Channel.SIGNALS or delivery.replay is not None:
        return 0
    session = items[0].session
    window = twin.windows.get((_NAMES[Channel.SIGNALS], session))
    if window is None:
        return 0
    due, newest_ms, received_ms, samples = window.next, twin.newest_ms, items[0].received_ms, 0
    advances: list[tuple[int, dict[int, Value]]] = []
    for item in items:
        content = item.content
        if item.seq != due or type(content) is not Reading or item.session != session:
            break
        if len(content.samples) != 1 or content.rejected or content.capture is not None:
            break
        sample = content.samples[0]
        ts_ms, values = sample.ts_ms, sample.values
        if ts_ms <= newest_ms or not values:
            break
        due, newest_ms = due + 1, ts_ms
        samples += len(values)
        advances.append((ts_ms, values))
        if item.received_ms > received_ms:
            received_ms = item.received_ms
    if advances:
        for ts_ms, values in advances:
            twin.take(ts_ms, values)
        outcome.advances += advances
        outcome.folded += len(advances)
        window.accept_run(len(advances), newest_ms)
        twin.counters["frames"] += len(advances)
        twin.counters["samples"] += samples
        _hear(twin, delivery, received_ms)
    return len(advances)


def _fold_item(twin: Twin, delivery: Delivery, item: Item, outcome: Outcome) -> None:
    _hear(twin, delivery, item.received_ms)
    content = item.content
    if isinstance(content, ConnectionState):
        _connect(twin, content, item.received_ms)
        return
    if delivery.replay == "values":
        _amend(twin, delivery, item, outcome)
        return
    seen = _judge(twin, delivery, item)
    if seen is Seen.DUPLICATE:
        twin.counters["duplicates"] += 1
        outcome.duplicates += 1
        return
    counted = seen is Seen.NEW
    if counted:
        outcome.folded += 1
    else:
        outcome.uncertain += 1
        twin.counters["uncertain"] += 1
    if isinstance(content, Malformed):
        twin.counters["rejected"] += counted and delivery.replay is None  # a replay that fails again is no news
    elif isinstance(content, Reading):
        if counted:
            twin.counters["frames"] += content.capture is None  # the device sent those samples before
            if content.rejected:
                twin.counters["rejected"] += len(content.rejected)
        for sample in content.samples:
            _fold_sample(twin, sample, counted, outcome)
    else:
        twin.counters["events"] += counted
        _fold_event(twin, delivery, item, content, outcome)


def _hear(twin: Twin, delivery: Delivery, received_ms: int) -> None:
    connection = twin.connection
    if received_ms >= connection.last_seen_ms:
        connection.last_seen_ms = received_ms
        connection.gateway = delivery.gateway


def _fold_event(twin: Twin, delivery: Delivery, item: Item, content: AnyEvent, outcome: Outcome) -> None:
    outcome.events.append(_event_document(delivery, item))
    if isinstance(content, NotifyEvent):
        _fold_notification(twin, content, outcome)


def _amend(twin: Twin, delivery: Delivery, item: Item, outcome: Outcome) -> None:
    """A message that was counted, but not all that it says could be kept then: only that is news."""
    content = item.content
    if isinstance(content, Reading):
        for sample in content.samples:
            _fold_sample(twin, sample, False, outcome)
    elif not isinstance(content, (Malformed, ConnectionState)):
        _fold_event(twin, delivery, item, content, outcome)


def _judge(twin: Twin, delivery: Delivery, item: Item) -> Seen:
    """Dead letters come back in any order, so those with the agent's numbers have a window of their own, exact as a
    device's; gaps still cannot be known there."""
    apart = delivery.replay is not None and not item.gapless
    key = (_NAMES[delivery.channel], f"{item.session}+replay" if apart else item.session)
    ts_ms = _time_ms(item)
    window = twin.windows.get(key)
    if window is None:
        if ts_ms <= twin.forgotten_ms:
            return Seen.UNCERTAIN
        window = twin.windows[key] = Window(item.gapless or apart)
        if len(twin.windows) > WINDOWS_MAX:
            _forget_oldest(twin, key)
    seen, gaps = window.accept(item.seq, ts_ms)
    if gaps and item.gapless:
        twin.counters["gaps"] += gaps
    return seen


def _time_ms(item: Item) -> int:
    content = item.content
    if isinstance(content, Reading):
        return content.samples[0].ts_ms
    return item.received_ms if isinstance(content, (Malformed, ConnectionState)) else content.ts


def _forget_oldest(twin: Twin, keep: tuple[str, str]) -> None:
    oldest = min((key for key in twin.windows if key != keep), key=lambda key: twin.windows[key].newest_ms)
    twin.forgotten_ms = max(twin.forgotten_ms, twin.windows.pop(oldest).newest_ms)


def _fold_sample(twin: Twin, sample: Sample, counted: bool, outcome: Outcome) -> None:
    ts_ms, values = sample.ts_ms, sample.values
    if counted:
        twin.counters["samples"] += len(values)
    newer = values if ts_ms > twin.newest_ms else _newer(twin, sample, counted)
    if newer:
        twin.take(ts_ms, newer)
        outcome.advances.append((ts_ms, newer))


def _newer(twin: Twin, sample: Sample, counted: bool) -> dict[int, Value]:
    """Those values of a sample that are newer than the twin's; those that are older are late."""
    ts_ms, values = sample.ts_ms, sample.values
    newer: dict[int, Value] = {}
    for number, value in values.items():
        held_ms = twin.time_ms(number)
        if held_ms is None or ts_ms > held_ms or (ts_ms == held_ms and _outranks(value, twin.values[number])):
            newer[number] = value
        elif ts_ms < held_ms:
            twin.counters["late"] += counted
    return newer


def _outranks(value: Value, held: Value) -> bool:
    """Two values of the same moment: the greater stays, so that the order of arrival does not matter."""
    return value > held  # type: ignore[operator]  # both are of the signal's one type


def _fold_notification(twin: Twin, event: NotifyEvent, outcome: Outcome) -> None:
    signal = catalogue.find(f"Station.{event.component}.{event.variable}")
    if signal is None or twin.kind is not Kind.STATION:
        return  # a variable outside the catalogue is kept in the event itself
    value = catalogue.checked(signal, event.actual_value)
    if not isinstance(value, Malformed):
        _fold_sample(twin, Sample(event.ts, {signal.number: value}), False, outcome)


def _connect(twin: Twin, state: ConnectionState, received_ms: int) -> None:
    """The session born last, by the device's clock, is the asset's; its last word in the log is its state.

    A will has no time of its own, and the gateway's clock may differ from the device's, so the two are never
    compared: a will speaks only for its own session, and one that comes after the next birth changes nothing.
    """
    connection = twin.connection
    time_ms = state.ts if state.ts is not None else received_ms
    if state.session == connection.session:
        if state.online == connection.online:
            return  # the retained state, heard again
    elif connection.session and (not state.online or time_ms < connection.born_ms):
        return
    if state.online:
        connection.born_ms = time_ms
    if state.online or state.software is not None:  # a will does not say
        connection.software = sys.intern(state.software or "")  # of 100,000 devices few are different
    connection.online, connection.session, connection.since_ms = state.online, state.session, time_ms


def _event_document(delivery: Delivery, item: Item) -> dict[str, Any]:
    data = plain(item.content)  # type: ignore[arg-type]  # only events come here
    for envelope in ("v", "session", "seq", "ts"):
        data.pop(envelope, None)
    return {
        "_id": f"{delivery.asset_id}:{item.session}:{item.seq}",
        "asset_id": delivery.asset_id,
        "kind": str(delivery.kind),
        "type": data.pop("type"),
        "ts_ms": _time_ms(item),
        "received_ms": item.received_ms,
        "session": item.session,
        "seq": item.seq,
        "data": data,
    }
