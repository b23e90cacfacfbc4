"""What devices have to say beside their frames: what happened in the world, faults that begin, stations that derate.

`News.gather` asks once a step; what it finds are events for the network, devices that must report at once, and services
for those who keep the lives of cars.
"""

from typing import Final, NamedTuple

import numpy as np

from simulator import breakdown, consequences, happenings, readings
from simulator.arrays import Floats, where_true
from simulator.faults import CODE_KINDS, ISOLATION_CAUSE, WORN_CAUSE, Fault, FaultKind
from simulator.fleet import Fleet, Happened
from simulator.reporters import Reporter
from simulator.sightings import Sightings
from wire.messages import AnyEvent, LifecycleStep, Scalar
from wire.topics import Kind

_ROWS_AT_ONCE: Final = 2_048
"""Cars whose readings are in memory at a time."""
_HOT_CELSIUS: Final = 90.0
_COOLED_CELSIUS: Final = 75.0
_FREEZE_FRAME: Final = (
    "Vehicle.Speed",
    "Vehicle.TraveledDistance",
    "Vehicle.LowVoltageBattery.CurrentVoltage",
    "Vehicle.Powertrain.CombustionEngine.Speed",
    "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature",
    "Vehicle.Powertrain.TractionBattery.StateOfCharge.Current",
)


class Told(NamedTuple):
    """An event of a device of `reporter`."""

    reporter: Reporter
    row: int
    event: AnyEvent


class News:
    """Of one fleet. `events` and `forced`, the devices that must report, are those of the last step."""

    def __init__(
        self, fleet: Fleet, planned: list[Fault], vehicles: Reporter, stations: Reporter, sightings: Sightings
    ) -> None:
        self._fleet, self._planned, self._sightings = fleet, planned, sightings
        self._vehicles, self._stations = vehicles, stations
        self._begun = 0
        self._now_ms = 0
        self._unit = consequences.Unit.of(len(fleet))
        self._codes = readings.trouble_codes(planned)
        self.code = np.zeros(len(fleet), dtype=np.int16)
        """Of each car, which of the trouble codes it has, from 1; 0: none."""
        self.lamp = np.zeros(len(fleet), dtype=np.bool_)
        self._hot = np.zeros(len(stations.devices), dtype=np.bool_)
        self.events: list[Told] = []
        self.forced: dict[Kind, set[int]] = {}
        self.services: list[LifecycleStep] = []
        """Those that workshops have done since the start."""

    def gather(self, happened: Happened, step_s: float, now_s: float, now_ms: int) -> None:
        """Of the step that ends now: 1. what happened; 2. faults whose time has come; 3. hot connectors."""
        self.events, self.forced, self._now_ms = [], {Kind.VEHICLE: set(), Kind.STATION: set()}, now_ms
        self._notice(happened)
        self._break(step_s, now_s)
        self._watch_connectors()

    def _tell(self, reporter: Reporter, row: int, event: AnyEvent) -> None:
        self.events.append(Told(reporter, row, event))

    def _notice(self, happened: Happened) -> None:
        self.forced[Kind.VEHICLE].update(happened.departed, happened.arrived)
        for row in happened.arrived:
            self._tell(self._vehicles, row, happenings.trip(self._fleet, row, self._now_ms))
        self.services += [happenings.serviced(self._fleet, row, self._now_ms) for row in happened.serviced]
        for change in happened.sessions:
            self.forced[Kind.STATION].add(change.station)
            if change.phase != "Updated":
                self.forced[Kind.VEHICLE].add(change.vehicle)
            self._tell(self._stations, change.station, happenings.charging(self._fleet, change, self._now_ms))
        for station in happened.failed:
            self._tell_failure(station, ISOLATION_CAUSE)
        for station in happened.contactors.stuck.tolist():
            self._tell_failure(station, WORN_CAUSE)
        for station in happened.contactors.opened.tolist():
            self._tell_contactor(station, cleared=False)
        for station in happened.contactors.closed.tolist():
            self._tell_contactor(station, cleared=True)

    def _tell_contactor(self, station: int, *, cleared: bool) -> None:
        self._tell_in_full(station)
        self._tell(self._stations, station, happenings.contactor_moved(self._now_ms, cleared=cleared))

    def _tell_failure(self, station: int, cause: int) -> None:
        self._tell_in_full(station)
        for event in happenings.station_failed(cause, self._now_ms):
            self._tell(self._stations, station, event)

    def _tell_in_full(self, row: int) -> None:
        """A full snapshot goes with the events of a station, so that both say the same at the same time."""
        self.forced[Kind.STATION].add(row)
        self._stations.full_at_s[row] = -np.inf

    def _break(self, step_s: float, now_s: float) -> None:
        began: list[Fault] = []
        while self._begun < len(self._planned) and self._planned[self._begun].onset_s <= now_s:
            fault = self._planned[self._begun]
            self._begun += 1
            if fault.onset_s > 0:
                breakdown.apply(fault, self._fleet)
            self._begin(fault)
            began.append(fault)
        for row, code in consequences.notice(self._unit, self._fleet, step_s):
            if not self.code[row]:
                began.append(Fault(FaultKind.TROUBLE_CODE, row, now_s, code=code))
                self._begin(began[-1])
        self._tell_codes([fault for fault in began if fault.kind in CODE_KINDS])

    def _begin(self, fault: Fault) -> None:
        self._sightings.begin(fault, self._stations if fault.of_station else self._vehicles)
        if fault.kind in CODE_KINDS:
            self.code[fault.row] = 1 + self._codes.index(fault.code)
            self.lamp[fault.row] = fault.kind is FaultKind.TROUBLE_CODE
        elif fault.kind is FaultKind.STATION_FAILURE:
            self._tell_failure(fault.row, fault.detail)

    def _tell_codes(self, found: list[Fault]) -> None:
        """Trouble codes, each with a freeze frame."""
        for begin in range(0, len(found), _ROWS_AT_ONCE):
            some = found[begin : begin + _ROWS_AT_ONCE]
            rows = np.array([fault.row for fault in some])
            values = readings.of_vehicles(self._vehicles.table, self._fleet, rows, self.lamp, self.code)
            for fault, of_vehicle in zip(some, values, strict=True):
                event = happenings.trouble_code(fault, self._freeze_frame(of_vehicle), self._now_ms)
                self._tell(self._vehicles, fault.row, event)
                self.forced[Kind.VEHICLE].add(fault.row)

    def _freeze_frame(self, values: Floats) -> dict[str, Scalar]:
        table = self._vehicles.table
        columns = [table.index_of[path] for path in _FREEZE_FRAME]
        return {table.paths[i]: table.value(i, float(values[i])) for i in columns if np.isfinite(values[i])}

    def _watch_connectors(self) -> None:
        """A station says that it derates, once, and that it no longer does, once."""
        celsius = np.rint(self._fleet.stations.temperature * 10.0) / 10.0  # as it is sent
        changes = (~self._hot & (celsius > _HOT_CELSIUS)) | (self._hot & (celsius < _COOLED_CELSIUS))
        for row in where_true(changes).tolist():
            self._hot[row] = not self._hot[row]
            self._tell_in_full(row)
            event = happenings.connector_hot(float(celsius[row]), self._now_ms, cleared=not self._hot[row])
            self._tell(self._stations, row, event)
