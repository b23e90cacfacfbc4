"""One simulated fleet as a stream of messages. No clock, no network, no disk: the same settings and start give the
same bytes.

`Engine.step` in order: 1. the world moves on; 2. news: what happened in it, and faults whose time has come; 3. devices
that restart or wake; 4. frames of the devices that are due or have something to say; 5. events; 6. devices that go to
sleep; 7. quirks of devices; 8. links that are down; 9. misbehaviour of the network.
"""

from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np

from simulator import (
    devices,
    encode,
    faults,
    fleet,
    genesis,
    identity,
    quirks,
    readings,
    reporters,
    samples,
    updates,
)
from simulator.arrays import Flags, Floats, Rows, stream, where_true
from simulator.cells import Assets, Cells
from simulator.devices import Devices, Message
from simulator.faults import MODEM_KINDS, Fault
from simulator.links import LOST_DB, Links, Outage
from simulator.misbehave import Misbehaviour
from simulator.news import News, Told
from simulator.plans import Mode
from simulator.quirks import Quirks
from simulator.reporters import Reporter
from simulator.settings import QuirkSection, SimulatorSettings
from simulator.sightings import FaultReport, Sightings
from simulator.updates import Campaign, Update
from wire import codec
from wire.messages import LifecycleStep, plain
from wire.topics import Channel, Kind

_DARK_S: Final = 25.0
"""How long a restarting device says nothing."""
_ROWS_AT_ONCE: Final = 2_048
"""Devices whose readings are in memory at a time."""


class Engine:
    """A run: state, and one step at a time."""

    def __init__(self, settings: SimulatorSettings, start_ms: int) -> None:
        own = settings.fleet
        self.settings = own
        self.start_ms = start_ms
        self.steps = 0
        self.interval_steps = round(own.interval_s / own.step_s)
        vehicle_traits = identity.vehicles(own.seed, own.vehicles)
        planned = faults.plan(settings.faults, vehicle_traits, identity.stations(own.seed, own.stations))
        self.fleet = genesis.create(own.seed, own.vehicles, own.stations, start_ms / 1_000, planned)
        self.vehicles = self._reporter(Kind.VEHICLE, own.vehicles, 0, planned)
        self.stations = self._reporter(Kind.STATION, own.stations, own.vehicles, planned)
        free = self._without_fault(planned)
        self.quirks = self._odd_ones(settings.quirks, free)
        self.campaign = Campaign(own, self._kind_of, free, self.quirks.half_updated_s)
        self.updates: list[Update] = []
        self.links = Links(self.quirks.outages | self._dying_modems(planned), own.kept_messages_max)
        self.misbehaviour = Misbehaviour(own.seed, settings.send.misbehave)
        self.cells: list[Cells] = []
        """Of the frames that the last step made, whenever they are sent."""
        self.sightings = Sightings(start_ms)
        self.news = News(self.fleet, planned, self.vehicles, self.stations, self.sightings)
        self._frames = 0
        self._random = stream(own.seed, "devices")
        self._faded: dict[int, float] = {}
        self._said: dict[Kind, Flags] = {}
        """Who has sent a frame in this step."""

    def _reporter(self, kind: Kind, count: int, first_device: int, planned: list[Fault]) -> Reporter:
        boxes = devices.create(self.settings, kind, count, first_device)
        broken = [fault.row for fault in planned if fault.of_station == (kind is Kind.STATION)]
        boxes.sleeps[broken] = False  # what is broken shall be seen
        if kind is Kind.VEHICLE:
            table = readings.vehicle_table(self.fleet, readings.trouble_codes(planned))
        else:
            table = readings.station_table(self.fleet, self.vehicles.devices.ids)
        return reporters.create(table, boxes, self.interval_steps)

    def _kind_of(self, device: int) -> Kind:
        return Kind.VEHICLE if device < len(self.vehicles.devices) else Kind.STATION

    def _without_fault(self, planned: list[Fault]) -> Rows:
        broken = [self._device_of(fault) for fault in planned]
        return np.setdiff1d(np.arange(len(self.vehicles.devices) + len(self.stations.devices)), broken)

    def _odd_ones(self, wanted: QuirkSection, free: Rows) -> Quirks:
        vehicles = len(self.vehicles.devices)
        quirk_of = quirks.choose(wanted, self.settings.seed, free)
        odd = np.isin(np.arange(vehicles + len(self.stations.devices)), list(quirk_of))
        self.vehicles.devices.odd, self.stations.devices.odd = odd[:vehicles], odd[vehicles:]
        return Quirks(self.settings.seed, quirk_of, self.settings.run_s)

    def _dying_modems(self, planned: list[Fault]) -> dict[int, Outage]:
        dying = [fault for fault in planned if fault.kind in MODEM_KINDS]
        return {self._device_of(fault): Outage.of_modem(fault.onset_s, fault.size) for fault in dying}

    def _device_of(self, fault: Fault) -> int:
        boxes = (self.stations if fault.of_station else self.vehicles).devices
        return boxes.first_device + fault.row

    @property
    def assets(self) -> list[Assets]:
        """What the cells stand for."""
        return [Assets(each.devices.kind, each.devices.ids, each.table) for each in (self.vehicles, self.stations)]

    @property
    def fault_reports(self) -> list[FaultReport]:
        """What the truth is to know of faults; one about the same asset and fault replaces an earlier one."""
        return self.sightings.reports

    @property
    def services(self) -> list[LifecycleStep]:
        """Those that workshops have done since the start."""
        return self.news.services

    @property
    def now_s(self) -> float:
        """Simulated seconds since the start."""
        return self.steps * self.settings.step_s

    @property
    def now_ms(self) -> int:
        """Simulated time, ms since 1970."""
        return self.start_ms + round(self.now_s * 1_000)

    def step(self) -> list[Message]:
        """The messages of the next step."""
        self.steps += 1
        self.cells = []
        happened = fleet.step(self.fleet, self.settings.step_s)
        self.news.gather(happened, self.settings.step_s, self.now_s, self.now_ms)
        self._faded = self.links.faded(self.now_s)
        sent: list[Message] = []
        for reporter in (self.vehicles, self.stations):
            sent += self._wake(reporter)
            sent += self._report(reporter)
        sent += [self._encode_event(told) for told in self.news.events]
        sent += self._sleep()
        self.sightings.see(self._said, self._faded, self.now_ms)
        sent = self.links.pass_on(self.quirks.bend(sent, self.now_s), self.now_s)
        return self.misbehaviour.pass_on(sent, self.steps)

    def finish(self) -> Iterator[Message]:
        """What is still owed, and a farewell of every device that is awake."""
        yield from self.misbehaviour.release()
        yield from self.links.release()
        for reporter in (self.vehicles, self.stations):
            boxes = reporter.devices
            for row in where_true(boxes.awake).tolist():
                yield self.quirks.bent(boxes.stop(row, self.now_ms), self.now_s)

    def _due(self, boxes: Devices) -> Flags:
        """Which devices report at this step of the clock."""
        return reporters.due(boxes, self.steps, self.interval_steps)

    def _wake(self, reporter: Reporter) -> list[Message]:
        """Devices that restart on their own go dark; those whose time has come, or who have news, begin a session."""
        boxes = reporter.devices
        for row in where_true(boxes.awake & (self.now_s >= boxes.reboots_at_s)).tolist():
            boxes.reboots_at_s[row] = devices.next_reboot_s(self.now_s, self.settings.reboots_per_day, self._random)
            boxes.awake[row] = False
            boxes.returns_at_s[row] = self.now_s + _DARK_S
        farewells = self._update(boxes)
        wakes = self._due(boxes) & (self.now_s >= boxes.returns_at_s)
        wakes[list(self.news.forced[boxes.kind])] = True
        births = []
        for row in where_true(wakes & ~boxes.awake).tolist():
            reporters.begin_session(reporter, row)
            births.append(boxes.boot(row, self.now_ms))
        return farewells + births

    def _update(self, boxes: Devices) -> list[Message]:
        """Devices whose new firmware is ready say goodbye and go dark to install it."""
        farewells = []
        for row in self.campaign.due(self.now_s, boxes.kind, boxes.first_device, boxes.awake):
            before = boxes.version(row)
            farewells.append(boxes.stop(row, self.now_ms))
            boxes.software[row] = updates.NEWEST
            boxes.returns_at_s[row] = self.now_s + updates.INSTALLS_S
            self.updates.append(Update(boxes.ids[row], before, boxes.version(row), self.now_ms))
        return farewells

    def _report(self, reporter: Reporter) -> list[Message]:
        boxes = reporter.devices
        sampled = where_true(samples.due(reporter, self.steps, self.interval_steps))
        if len(sampled):
            values = readings.fast_of_vehicles(reporter.table, self.fleet, sampled)
            samples.keep(reporter, sampled, values, self.now_ms)
        reports = self._due(boxes) & boxes.awake
        reports[list(self.news.forced[boxes.kind])] = True
        self._said[boxes.kind] = reports
        rows, made = where_true(reports), []
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            made += self._encode(reporter, rows[begin : begin + _ROWS_AT_ONCE])
        return made

    def _encode(self, reporter: Reporter, rows: Rows) -> list[Message]:
        units, count = reporter.table.units(self._values(reporter, rows)), self.settings.signals_per_frame
        if count and reporter is self.vehicles:
            send = encode.first_known(reporter, units, count)
        else:
            send = encode.changed(reporter, rows, units, self.now_s, self.settings.full_snapshot_s)
        messages, cells = encode.report(reporter, rows, units, send, self.now_ms, self._frames)
        self._frames += len(cells)
        self.cells.append(cells)
        return messages

    def _values(self, reporter: Reporter, rows: Rows) -> Floats:
        if reporter is self.stations:
            values = readings.of_stations(reporter.table, self.fleet, rows, reporter.devices.software)
            self._weaken(reporter, rows, values)
            return values
        return readings.of_vehicles(reporter.table, self.fleet, rows, self.news.lamp, self.news.code)

    def _weaken(self, reporter: Reporter, rows: Rows, values: Floats) -> None:
        """Stations say how well they hear the network."""
        for device, share in self._faded.items():
            heard = where_true(rows == device - reporter.devices.first_device)
            column = reporter.table.index_of["Station.DataLink.SignalStrength"]
            values[heard, column] = np.rint(values[heard, column] - share * LOST_DB)

    def _encode_event(self, told: Told) -> Message:
        boxes, row, event = told.reporter.devices, told.row, told.event
        numbered = msgspec.structs.replace(event, session=boxes.session(row), seq=int(boxes.event_seq[row]))
        boxes.event_seq[row] += 1
        payload = codec.to_json(numbered) if boxes.json[row] else codec.to_msgpack(plain(numbered))
        return boxes.message(row, Channel.EVENTS, payload)

    def _sleep(self) -> list[Message]:
        """Telematics units of cars that have been parked for long say goodbye, right after a frame."""
        boxes = self.vehicles.devices
        rests = (self.fleet.plans.mode == Mode.PARKED) & (self.fleet.mode_s > self.settings.sleep_after_s)
        soon = self.fleet.plans.departs_s - self.fleet.now_s < 120.0
        sleepy: Flags = boxes.awake & boxes.sleeps & rests & ~soon & self._due(boxes)
        rows = where_true(sleepy)
        boxes.returns_at_s[rows] = np.inf
        return [boxes.stop(row, self.now_ms) for row in rows.tolist()]
