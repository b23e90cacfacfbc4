"""The work behind each command: settings in, summary out. Here parts and adapters are put together."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from runtime import garbage
from simulator import agreement, kafka, mqtt, people, schedule, servicing
from simulator.engine import Engine
from simulator.errors import UnusableError
from simulator.mongo import Database
from simulator.oracle import expect, history, report
from simulator.oracle.compare import Difference
from simulator.oracle.expect import World
from simulator.oracle.report import Told, Verdict
from simulator.people import OtherAsset
from simulator.replay import frames, moments, replaying
from simulator.replay import mapping as mappings
from simulator.replay.replaying import Tempo
from simulator.replay.table import Table
from simulator.replay.values import Skipped
from simulator.running import Outbox, Run
from simulator.settings import FleetSection, SimulatorSettings
from simulator.show import Progress
from simulator.truth import Truth, TruthWriter
from wire import topics

_OTHER_FILES: Final = 64
_LOOK_S: Final = 0.25
_ENDS_BEFORE_NOW_MS: Final = 10_000
"""A recording without a clock is laid out to end this long before the replay begins."""


def run(
    settings: SimulatorSettings, truth: Path, start_ms: int | None, progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    """`fleetfold-sim run`."""
    fleet, begins_ms = settings.fleet, beginning_ms(settings.fleet, start_ms, int(time.time() * 1_000))
    _check_connections(settings, fleet.vehicles + fleet.stations)
    rates = {"faults": settings.faults.model_dump(), "misbehave": settings.send.misbehave}
    description = {"command": "run", "start_ms": begins_ms, **fleet.model_dump(), **rates}
    with (
        progress.shown(),
        TruthWriter(truth, description) as writer,
        mqtt.Publisher(settings.mqtt, settings.send, stop) as broker,
    ):
        outbox = Outbox(writer, broker, progress.show)
        engine, teller = Engine(settings, begins_ms), _teller(settings)
        garbage.search_rarely()
        summary = Run(engine, writer, outbox, stop, teller).go(fleet.duration_s, settings.send).plain()
        if teller is not None:
            teller.finish(settings.send.end_timeout_s(stop.is_set()))
        return summary


def beginning_ms(fleet: FleetSection, given_ms: int | None, now_ms: int) -> int:
    """When simulated time begins. Raises `UnusableError` for the future, and before all cars are delivered."""
    devices, earliest_ms = fleet.vehicles + fleet.stations, int(servicing.FIRST_DRIVEN_DAY.timestamp() * 1_000)
    begins_ms = schedule.start_ms(given_ms, now_ms, fleet.speedup, fleet.duration_s, devices)
    if given_ms is None and not fleet.duration_s:
        return max(begins_ms, earliest_ms)
    if given_ms is not None and begins_ms > now_ms:
        raise UnusableError(f"simulated time would begin {(begins_ms - now_ms) / 1_000:.0f} s in the future")
    if begins_ms < earliest_ms:
        raise UnusableError(
            f"simulated time would begin on {datetime.fromtimestamp(begins_ms / 1_000, UTC).date()}, but the cars are "
            f"not all delivered before {servicing.FIRST_DRIVEN_DAY.date()}: begin later, or run shorter or slower"
        )
    return begins_ms


def _teller(settings: SimulatorSettings) -> kafka.Teller | None:
    """Who tells the services of a run; None: nobody is to."""
    if not settings.send.tell_services:
        return None
    return kafka.Teller(settings.kafka, settings.send.connect_timeout_s, f"/fleetfold-sim/run/{settings.fleet.seed}")


class ReplayOptions(NamedTuple):
    """What `fleetfold-sim replay` was asked for; `speedup` None: as fast as the rate allows."""

    file: Path
    mapping: str
    limit: int | None
    speedup: float | None
    duration_s: float
    end_ms: int | None


def replay(
    settings: SimulatorSettings, truth: Path, options: ReplayOptions, progress: Progress, stop: threading.Event
) -> dict[str, Any]:
    """`fleetfold-sim replay`."""
    mapping = mappings.load(options.mapping)
    skipped = Skipped()
    with Table(options.file) as table:
        mappings.check_columns(mapping, options.mapping, table.header)
        rows = table.rows(sorted(set(mapping.columns().values())), options.limit)
        end_ms = options.end_ms if options.end_ms is not None else int(time.time() * 1_000) - _ENDS_BEFORE_NOW_MS
        sessions = moments.sessions(mapping, rows, end_ms, skipped)
    _check_connections(settings, len({session.asset_id for session in sessions}))
    total = frames.count(sessions, mapping.frames.samples_per_frame)
    rate = settings.send.rate_max
    if options.duration_s:  # spread over the time there is, with some left to drain
        rate = min(rate, total / (0.9 * options.duration_s))
    tempo = Tempo(options.speedup, max(rate, 1.0), options.duration_s)
    description = {"command": "replay", "file": options.file.name, "mapping": options.mapping, "messages": total}
    with (
        progress.shown(),
        TruthWriter(truth, description) as writer,
        mqtt.Publisher(settings.mqtt, settings.send, stop) as broker,
    ):
        outbox = Outbox(writer, broker, progress.show)
        stream = frames.messages(sessions, mapping.asset.kind, mapping.frames.samples_per_frame)
        summary = replaying.go(stream, tempo, outbox, stop, settings.send)
    return {**summary, "skipped": skipped.total, "skipped_by": skipped.counts}


class PeopleOptions(NamedTuple):
    """What `fleetfold-sim people` was asked for; `recorded`: mappings, each with its table where that is needed."""

    truth: Path | None
    recorded: list[tuple[str, Path | None]]
    now_ms: int


def tell_people(settings: SimulatorSettings, options: PeopleOptions) -> dict[str, Any]:
    """`fleetfold-sim people`."""
    fleet = settings.fleet
    others = [asset for name, file in options.recorded for asset in recorded_assets(name, file)]
    missed = settings.faults.service_missed
    facts = people.facts(fleet.seed, fleet.vehicles, fleet.stations, options.now_ms, others, missed)
    source = f"/fleetfold-sim/people/{fleet.seed}"
    counts = Counter(type(fact).__name__ for fact in facts)
    with ExitStack() as stack:
        if options.truth is not None:
            size = fleet.model_dump(include={"seed", "vehicles", "stations"})
            description = {"command": "people", **size, "faults": {"service_missed": missed}}
            stack.enter_context(TruthWriter(options.truth, description)).facts(facts)
        teller = kafka.Teller(settings.kafka, settings.send.connect_timeout_s, source)
        teller.tell(facts)
        teller.finish(settings.send.drain_timeout_s)
    return {
        "published": teller.count,
        "profiles": counts["Profile"],
        "roles": counts["Role"],
        "lifecycle_steps": counts["LifecycleStep"],
        "activities": counts["Activity"],
        "recorded_assets": len(others),
    }


def recorded_assets(name: str, file: Path | None) -> list[OtherAsset]:
    """The assets of a mapping, with the attributes that it gives them."""
    mapping = mappings.load(name)
    columns = mapping.asset_columns()
    if not columns:
        return [OtherAsset(mapping.asset.id, mapping.asset.kind, mappings.attributes_for(mapping, {}))]
    if file is None:
        raise UnusableError(f"mapping {name}: its assets are in the table's column {columns[0]}: give {name}=FILE")
    found: dict[str, OtherAsset] = {}
    with Table(file) as table:
        mappings.check_columns(mapping, name, table.header)
        for row in table.rows(columns, None):
            asset_id = mappings.fill(mapping.asset.id, row).lower()
            if asset_id not in found and topics.ASSET_ID.fullmatch(asset_id):
                found[asset_id] = OtherAsset(asset_id, mapping.asset.kind, mappings.attributes_for(mapping, row))
    return list(found.values())


class Patience(NamedTuple):
    """How long to wait for what was sent: `wait_s` at the most, `still_s` while nothing more comes."""

    wait_s: float
    still_s: float


def verify(settings: SimulatorSettings, directories: list[Path], patience: Patience, history_assets: int) -> Verdict:
    """`fleetfold-sim verify`: waits for the twins to have folded what was sent, and for history to have it too, then
    compares; history of about `history_assets` assets."""
    truths = [Truth(directory) for directory in {path.resolve(): path for path in directories}.values()]
    agreement.check(truths)
    world = expect.read(truths, history_assets)
    deadline = time.monotonic() + patience.wait_s
    with Database(settings.mongo) as database:
        if not _all_folded(database, world.sent - world.unacknowledged, deadline, patience.still_s):
            deadline = time.monotonic()  # history would not get it either
        told = Told(database.activity_ids(), database.customers()) if world.profiles else Told()
        actual = database.actual(world.asset_ids)
        verdict = report.verdict(world, actual, int(time.time() * 1_000), told)
        return verdict._replace(differences=[*verdict.differences, *_history(world, database, deadline)])


def _all_folded(database: Database, expected: int, deadline: float, still_s: float) -> bool:
    """Wait until twins have counted so much; False when the time is over, or nothing more comes."""
    most, moved_at = database.folded(), time.monotonic()
    while most < expected:
        if time.monotonic() >= min(deadline, moved_at + still_s):
            return False
        time.sleep(_LOOK_S)
        if (now := database.folded()) != most:
            most, moved_at = now, time.monotonic()
    return True


def _history(world: World, database: Database, deadline: float) -> Iterator[Difference]:
    """What history lacks, or has too much; it lags on purpose, so it is given time."""
    for asset_id in [asset_id for asset_id, asset in world.assets.items() if asset.is_followed]:
        asset = world.expected(asset_id)
        while True:
            said = history.read(database.history(asset_id))
            found = list(history.differences(asset, said, int(time.time() * 1_000)))
            if not found or time.monotonic() >= deadline:
                break
            time.sleep(0.5)
        yield from (Difference("wrong", asset_id, 1, text) for text in found)


def _check_connections(settings: SimulatorSettings, devices: int) -> None:
    limit = settings.send.devices_with_own_connection_max
    if settings.send.connections == 0 and devices > limit:
        raise UnusableError(f"send.connections = 0 is for at most {limit} devices, these are {devices}")
    mqtt.allow_files(_OTHER_FILES + (settings.send.connections or devices))
