"""What the rules remember of one asset: its signals, its captures, its ring."""

from typing import Any, Final

from edge.rules.cells import Cell, Verdict, sensor
from edge.rules.conditions import Scene
from edge.rules.extras import Extra
from edge.rules.plan import Collector, Plan, Trap
from edge.rules.ring import Budget, Entry, Ring
from edge.spool import series as names
from wire import catalogue
from wire.catalogue import Value
from wire.topics import Address, Channel, Kind

Sample = tuple[str | int, Cell, Value]
"""What a frame calls the signal, the signal, a value that was judged."""

_NEVER_MS: Final = -(2**62)


class _Armed:
    """A capture on one asset. The window is that of the last capture; `value` is the condition's last one.

    `is_running`: the condition is true since it opened or joined the window.
    """

    __slots__ = ("end_ms", "is_running", "start_ms", "trap", "value")

    def __init__(self, trap: Trap) -> None:
        self.trap = trap
        self.value: Any = None
        self.is_running = False
        self.start_ms = self.end_ms = _NEVER_MS


class Asset:
    """Changed by every sample. `newest_ms`: the newest source time heard while there are captures. `before_ms`: for how
    long the ring is of use. `is_transparent`: everything is sent, so that there is no need to look. `is_unarmed`: there
    are no captures. `cells`: by catalogue number, and by what else frames have called signals.
    """

    __slots__ = ("_armed", "_collectors", "_unnamed", "asset_id", "before_ms", "cells", "first_heard_s", "heard_s",
                 "is_transparent", "is_unarmed", "kind", "newest_ms", "plan_number", "ring",
                 "series", "urgent_series")  # fmt: skip

    def __init__(self, kind: Kind, asset_id: str, budget: Budget, now_s: float) -> None:
        self.asset_id = asset_id
        self.plan_number = -1
        self.newest_ms = _NEVER_MS
        self.first_heard_s = self.heard_s = now_s
        self.before_ms = 0
        self.is_transparent = False
        self.is_unarmed = True
        self.kind = kind
        self.series = names.of(Address(kind, asset_id, Channel.SIGNALS))
        self.urgent_series = names.of(Address(kind, asset_id, Channel.SIGNALS), urgent=True)
        self.cells: dict[str | int, Cell] = {}
        self.ring = Ring(budget)
        self._armed: list[_Armed] = []
        self._collectors: list[Collector] = []
        self._unnamed: Collector

    def follow(self, plan: Plan, plan_number: int, now_ms: float) -> None:
        """Obey the rules of a plan that are active now. What was sent stays known, and captures that go on go on."""
        self.plan_number = plan_number
        scoped = [each for each in plan.collectors if each.scope.takes(self.kind, self.asset_id)]
        self._collectors = [each for each in scoped if each.scope.is_active(now_ms)]
        self._unnamed = plan.unnamed
        for cell in self.cells.values():
            cell.collector = self._collector_of(cell.sensor.number)
        traps = [each for each in plan.traps if each.scope.takes(self.kind, self.asset_id)]
        known = {id(armed.trap): armed for armed in self._armed}
        self._armed = [known.get(id(trap)) or _Armed(trap) for trap in traps if trap.scope.is_active(now_ms)]
        self.before_ms = max((armed.trap.before_ms for armed in self._armed), default=0)
        keeps_all = self._unnamed.keeps_all and all(each.keeps_all for each in self._collectors)
        self.is_unarmed = not self._armed
        self.is_transparent = keeps_all and self.is_unarmed

    def _collector_of(self, number: int) -> Collector:
        return next((each for each in self._collectors if number in each.scope.numbers), self._unnamed)

    def cell(self, key: str | int) -> Cell | None:
        """Of a key in a frame; None when it is none of the catalogue's for this kind."""
        signal = catalogue.find(key)
        if signal is None or signal.kind is not self.kind:
            return None  # not remembered: such keys have no end
        cell = self.cells.get(signal.number)
        if cell is None:
            cell = self.cells[signal.number] = Cell(sensor(signal.number), self._collector_of(signal.number))
        self.cells[signal.path if key == signal.path else key] = cell  # not a copy of the name for each asset
        return cell

    def take(self, ms: int, row: list[Sample], extras: list[Extra]) -> list[str | int]:
        """Samples taken at one moment: the keys of those that are taken out of their frame. `extras` gets what is to
        be sent in frames of the agent."""
        verdicts = [cell.take(ms, value) for _, cell, value in row]
        if self._armed and ms >= self.newest_ms:
            self._spring_all(ms, extras)
        gone: list[str | int] = []
        for (key, cell, value), verdict in zip(row, verdicts, strict=True):
            if verdict is Verdict.KEPT:
                cell.collector.kept += 1
            elif not self.stays(ms, cell, value, verdict, extras):
                gone.append(key)
        return gone

    def forget_sent(self) -> None:
        """Send the next sample of each signal, whatever was sent before."""
        for cell in self.cells.values():
            cell.forget_sent()

    def _spring_all(self, ms: int, extras: list[Extra]) -> None:
        self.newest_ms = ms
        scene = Scene(self.cells, ms)
        for armed in self._armed:
            self._spring(armed, scene, extras)
        if self.before_ms:
            self.ring.expire(ms - self.before_ms)

    def _spring(self, armed: _Armed, scene: Scene, extras: list[Extra]) -> None:
        """Evaluate a condition; open or prolong the window, and fetch what was withheld before."""
        trap, before, ms = armed.trap, armed.value, scene.now_ms
        armed.value = trap.condition.holds(scene)
        if armed.value is not True:
            armed.is_running = False
            return
        is_open = ms <= armed.end_ms
        if trap.while_true and (is_open or armed.is_running):
            armed.is_running, armed.end_ms = True, ms + trap.after_ms
        elif is_open or ms < armed.end_ms + trap.gap_ms:
            trap.suppressed += before is not True
        elif trap.while_true or before is not True:
            armed.is_running = True
            armed.start_ms, armed.end_ms = ms - trap.before_ms, ms + trap.after_ms
            trap.captures += 1
            self._send_held(self.ring.take(armed.start_ms, ms, trap.scope.numbers), trap, extras)

    def _send_held(self, entries: list[Entry], trap: Trap, extras: list[Extra]) -> None:
        trap.samples += len(entries)
        for entry in entries:
            entry.cell.sent_apart(entry.ms, entry.value)
            extras.append(Extra(entry.ms, entry.cell.sensor.path, entry.value, trap.name, trap.urgent))

    def give_up(self) -> list[Extra]:
        """What the ring holds, to be sent because nobody will remember it."""
        held = self.ring.clear()
        return [Extra(each.ms, each.cell.sensor.path, each.value, each.cell.collector.name, False) for each in held]

    def stays(self, ms: int, cell: Cell, value: Value, verdict: Verdict, extras: list[Extra]) -> bool:
        """Whether a sample that was not simply kept stays in its frame."""
        if verdict is Verdict.KEPT_BETWEEN:
            cell.collector.kept += 1
            self._send_newest(cell, extras)
            return True
        if verdict is Verdict.WITHHELD and self._armed and self._is_wanted(ms, cell, value, extras):
            return True
        cell.collector.withheld += 1
        return False

    def _send_newest(self, cell: Cell, extras: list[Extra]) -> None:
        """An older sample is sent than the newest, which was withheld: alone, the older one would seem newest."""
        self.ring.take(cell.ms, cell.ms, frozenset((cell.sensor.number,)))
        cell.sent_apart(cell.ms, cell.value)
        extras.append(Extra(cell.ms, cell.sensor.path, cell.value, cell.collector.name, False))

    def _is_wanted(self, ms: int, cell: Cell, value: Value, extras: list[Extra]) -> bool:
        """Whether a sample stays that the collecting rule withholds. If not, it may wait in the ring for a capture."""
        holds = False
        for armed in self._armed:
            trap = armed.trap
            if cell.sensor.number not in trap.scope.numbers:
                continue
            if armed.start_ms <= ms <= armed.end_ms:
                trap.samples += 1
                return self._capture(ms, cell, value, trap, extras)
            holds = holds or (trap.before_ms > 0 and ms >= self.newest_ms - trap.before_ms)
        if holds and not self.ring.add(ms, cell, value):  # no room to keep it back: more is sent, never less
            self._sent(ms, cell, value, extras)
            return True
        return False

    def _capture(self, ms: int, cell: Cell, value: Value, trap: Trap, extras: list[Extra]) -> bool:
        """An urgent sample leaves its frame for one that is stored with the events; others stay."""
        self._sent(ms, cell, value, extras)
        if trap.urgent:
            extras.append(Extra(ms, cell.sensor.path, value, trap.name, True))
            cell.sent_apart(ms, value)
        return not trap.urgent

    def _sent(self, ms: int, cell: Cell, value: Value, extras: list[Extra]) -> None:
        """A sample is sent that its rule withholds. Of `none` nobody expects the newest: that one stays withheld."""
        if cell.kept_ms < ms < cell.ms and not cell.collector.is_silent:
            self._send_newest(cell, extras)
        else:
            cell.sent(ms, value)
