"""Rows to moments: what a table says about each asset, in order of time, in sessions.

Times of a recording are its own where it has a clock. Where it counts seconds within sessions, the sessions are laid
out as they were against each other, never overlapping, so that the last one ends at `end_ms`.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from simulator.replay import mapping as mappings
from simulator.replay import values
from simulator.replay.mapping import EventPart, MomentPart, TableMapping, ValuePart
from simulator.replay.values import Skipped, Sums
from wire import catalogue, topics
from wire.messages import ChargingEvent

_GAP_MS: Final = 1_000
_LAST_SPACING_MS: Final = 500

Row = dict[str, str]


class Moment(NamedTuple):
    """What was so at one time: values by path, and events."""

    ts_ms: int
    signals: dict[str, Any]
    events: list[ChargingEvent]


class Session(NamedTuple):
    """One life of a device."""

    asset_id: str
    moments: list[Moment]


class _Timed(NamedTuple):
    ts_ms: int
    row: Row
    moment: MomentPart
    order: int
    """Of the row within its session: what happens at the same time happens in the order of rows."""


def sessions(mapping: TableMapping, rows: Iterable[Row], end_ms: int, skipped: Skipped) -> list[Session]:
    """All sessions, by the time they begin. Rows without an asset or a time are counted in `skipped`."""
    grouped: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        asset_id = mappings.fill(mapping.asset.id, row).lower()
        if topics.ASSET_ID.fullmatch(asset_id) is None:
            skipped.note("asset.id")
            continue
        grouped[asset_id, *(row[column] for column in mapping.session.columns)].append(row)
    timed = {key: _timed(mapping, of_session, skipped) for key, of_session in grouped.items()}
    timed = {key: entries for key, entries in timed.items() if entries}
    if mapping.moments[0].time.seconds is not None:
        timed = _laid_out(mapping, timed, end_ms)
    sums = Sums()
    in_order = sorted(timed.items(), key=lambda item: (item[1][0].ts_ms, item[0]))
    return [Session(key[0], _moments(mapping, key[0], entries, sums, skipped)) for key, entries in in_order]


def _timed(mapping: TableMapping, rows: list[Row], skipped: Skipped) -> list[_Timed]:
    entries = []
    rows = sorted(rows, key=lambda row: _first_ms(mapping.moments[0], row))
    for moment in mapping.moments:
        is_relative = moment.time.seconds is not None
        times = _spread(moment, rows) if is_relative else [_clock_ms(moment, row) for row in rows]
        for order, (ts_ms, row) in enumerate(zip(times, rows, strict=True)):
            if ts_ms is None:
                skipped.note("time")
            else:
                entries.append(_Timed(ts_ms, row, moment, order))
    return sorted(entries, key=lambda entry: (entry.ts_ms, entry.order))


def _first_ms(moment: MomentPart, row: Row) -> float:
    """For sorting rows; one without a time goes first and is counted later."""
    seconds = moment.time.seconds
    time_ms = _clock_ms(moment, row) if seconds is None else _seconds(row[seconds])
    return time_ms if time_ms is not None else -1.0


def _clock_ms(moment: MomentPart, row: Row) -> int | None:
    part = moment.time
    assert part.column is not None, "checked by the mapping"
    text = row[part.column] or (row[part.otherwise] if part.otherwise is not None else "")
    ts_ms = _iso_ms(text)
    latest_ms = _iso_ms(row[part.latest]) if part.latest is not None else None
    return ts_ms if ts_ms is None or latest_ms is None else min(ts_ms, latest_ms)


def _iso_ms(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)


def _spread(moment: MomentPart, rows: list[Row]) -> list[int | None]:
    """Times within the session. A clock that stands still for some rows ticked between them: spread them evenly."""
    column = moment.time.seconds
    assert column is not None, "checked by the mapping"
    seconds = [_seconds(row[column]) for row in rows]
    times: list[int | None] = []
    place = 0
    while place < len(seconds):
        now = seconds[place]
        run = place + 1
        while run < len(seconds) and seconds[run] == now:
            run += 1
        if now is None:
            times += [None] * (run - place)
        else:
            following = next((later for later in seconds[run : run + 1] if later is not None and later > now), None)
            count = run - place
            spacing = (following - now) * 1_000 / count if following is not None else _LAST_SPACING_MS
            times += [int(now * 1_000 + index * spacing) for index in range(count)]
        place = run
    return times


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _laid_out(
    mapping: TableMapping, timed: dict[tuple[str, ...], list[_Timed]], end_ms: int
) -> dict[tuple[str, ...], list[_Timed]]:
    """Shift each session's times from its own seconds to the clock."""
    column = mapping.moments[0].time.session_start_minutes
    starts = {key: _start_ms(entries, column) for key, entries in timed.items()}
    cursor, begins = 0, {}
    for key in sorted(timed, key=lambda key: (starts[key], key)):
        begins[key] = max(starts[key], cursor)
        cursor = begins[key] + timed[key][-1].ts_ms + _GAP_MS
    shift = end_ms - (cursor - _GAP_MS)
    return {
        key: [entry._replace(ts_ms=entry.ts_ms + begins[key] + shift) for entry in entries]
        for key, entries in timed.items()
    }


def _start_ms(entries: list[_Timed], column: str | None) -> int:
    minutes = _seconds(entries[0].row[column]) if column is not None else None
    return int((minutes or 0.0) * 60_000)


def _moments(mapping: TableMapping, asset_id: str, entries: list[_Timed], sums: Sums, skipped: Skipped) -> list[Moment]:
    last_moment, summed = mapping.moments[-1], _accumulated(mapping)
    said: dict[str, Any] = {}
    moments = []
    for ts_ms, row, part, _ in entries:
        signals: dict[str, Any] = {}
        for signal in part.signals:
            text = row[signal.column]
            if signal.accumulate is not None:
                value = values.judged(signal.path, sums.register(asset_id, signal, text), skipped)
            else:
                value = values.signal_value(signal, text, skipped)
            if value is not None:
                signals[signal.path] = value
        said |= signals
        signals |= _changed(_fixed(part, row), said)
        events = [_event(event, asset_id, row, ts_ms, sums) for event in part.events]
        moments.append(Moment(ts_ms, signals, events))
        if part is last_moment:
            sums.advance(asset_id, summed, row)
    return moments


def _fixed(part: MomentPart, row: Row) -> dict[str, Any]:
    """Constants and templates; integers widened where the catalogue has floats."""
    texts = {path: mappings.fill(template, row) for path, template in part.templates.items()}
    return {path: catalogue.checked(catalogue.BY_PATH[path], value) for path, value in (part.constants | texts).items()}


def _changed(fixed: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """What is not known from before in this session; `said` remembers it."""
    news = {path: value for path, value in fixed.items() if said.get(path) != value}
    said |= news
    return news


def _event(part: EventPart, asset_id: str, row: Row, ts_ms: int, sums: Sums) -> ChargingEvent:
    meter: dict[str, float] = {}
    for measurand, value_part in part.meter_values.items():
        text = row[value_part.column]
        if value_part.accumulate is not None:
            value = sums.register(asset_id, value_part, text)
        else:
            value = values.number(value_part, text)
        if value is not None:
            meter[measurand] = value
    return ChargingEvent(
        v=1,
        ts=ts_ms,
        phase=part.phase,
        transaction_id=mappings.fill(part.transaction_id, row),
        evse_id=mappings.fill(part.evse_id, row) if part.evse_id else None,
        stopped_reason=mappings.fill(part.stopped_reason, row) if part.stopped_reason else None,
        meter_values=meter,
    )


def _accumulated(mapping: TableMapping) -> dict[str, ValuePart]:
    """The accumulated columns, each with one part that says how it is scaled."""
    parts: dict[str, ValuePart] = {}
    for moment in mapping.moments:
        meters = [part for event in moment.events for part in event.meter_values.values()]
        for part in [*moment.signals, *meters]:
            if part.accumulate is not None:
                parts.setdefault(part.column, part)
    return parts
