"""The oracle notices a twin service that is wrong, and says in one line what is: every fault of `tests/broken_fold.py`,
each on an asset of its own, in one running system; of all others it must say nothing."""

import json
import os
import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from local import observe, ports, programs, services, system, waiting
from local.processes import Processes
from local.servers import stack
from runtime import exits
from simulator.oracle import expect, findings
from simulator.oracle.expect import World
from simulator.oracle.expected import Expected
from simulator.truth import Truth

pytestmark = pytest.mark.timeout(300)

FLEET = services.Fleet(60, 4, 3, 60.0)
LOAD_S = 16
SIMULATED_S = FLEET.speedup * LOAD_S
LIMIT_S = 60.0
ODOMETER = "Vehicle.TraveledDistance"
PRESSURES = [f"Vehicle.Chassis.Axle.Row1.Wheel.{side}.Tire.Pressure" for side in ("Left", "Right")]

SAID = {
    "drops a frame": r"\d+ frames and events sent, \d+ folded",
    "counts a frame twice": r"\d+ frames and events sent, \d+ folded",
    "takes a frame for an event": r"\d+ events sent, \d+ counted",
    "miscounts samples": r"\d+ samples sent, \d+ counted",
    "invents a gap": r"\d+ gaps counted, 0 messages may be missing",
    "swaps two signals": r"Vehicle\.Chassis\.\S+\.Tire\.Pressure is [\d.]+ at \S+, expected [\d.]+ at \S+",
    "keeps an old value": r"Vehicle\.TraveledDistance is \d+ at \S+, expected \d+ at \S+",
    "loses a signal": r"Vehicle\.TraveledDistance is missing, expected \d+ at \S+",
    "is a second off": r"Vehicle\.\S+ is .+ at \S+, expected .+ at \S+",
    "swaps east and north": r"location is \[.+\], expected \[.+\]",
    "ignores farewells": "online is True, expected False",
    "forgets the software": r"software is .*, expected '.+'",
    "loses an event": r"event \S+ is missing",
    "garbles an event": r"event \S+: \w+ is 'garbled', expected .+",
    "forgets a finding": r"\w+ was visible for \d+ min, but there is no finding \w+",
    "cries wolf": "false alarm: brake_pads_worn found, nothing of the kind was broken",
    "shows good health": r"health is 'ok', expected '\w+'",
    "loses an owner": "owner's customer_id is None, expected 'cust-.+'",
    "loses a step of life": r"lifecycle step 'sold' of \S+ is missing",
    "moves a handover": r"lifecycle step 'delivered' of \S+: place is 'somewhere else', expected '.+'",
    "paints a car": r"attribute color is not as told 'pink', expected '\w+'",
    "gives consent": r"consent \w+ is True, expected False",
    "loses what a customer did": r"activity \S+ is missing",
    "forgets history": r"history of \S+ lacks \d+ of \d+ samples, the first at 20\d\d-\d\d-\d\dT\S+",
}
"""What the oracle must say of each fault."""


class Broken(services.Program):
    """The twin service with faults."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, *self.words]


class Verified(NamedTuple):
    """What the oracle said: its exit code, its lines by asset or customer, and its last line."""

    code: int
    broken: dict[str, str]
    """Asset or customer by fault."""
    lines: dict[str, list[str]]
    last: str


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory, apache_kafka_if_chosen: None) -> Verified:
    """One simulated run, folded by the broken service, verified."""
    kind: stack.KafkaKind = "apache" if os.environ.get("FLEETFOLD_TEST_KAFKA") == "apache" else "tansu"
    directory, stop = tmp_path_factory.mktemp("system"), threading.Event()
    with Processes() as owner:
        endpoints = system.start_servers(owner, directory, stack.Brokers(kind), stop)
        edge_port = ports.free_port()
        environment = services.environment(
            {**endpoints.environment, "FLEETFOLD_SIM__FAULTS__FROM_THE_START": "1"},
            directory / "spool", edge_port, ports.free_port(), {},
        )  # fmt: skip
        run = programs.Programs(owner, directory / "logs", environment, stop)
        run.keep_up(services.AGENT)
        run.must(services.CREATE_TOPICS)
        assert waiting.until(lambda: (observe.health(edge_port) or {}).get("mqtt_connected"), LIMIT_S, stop)
        truths = [directory / "truth" / name for name in ("people", "fleet")]
        run.must(services.people(FLEET, (), truths[0]))
        fleet = services.drive(FLEET, LOAD_S, truths[1])
        run.must(fleet._replace(words=(*fleet.words, "--start", _by_day())), LIMIT_S)
        broken = _victims(truths)
        script = str(Path(__file__).parents[1] / "broken_fold.py")
        run.keep_up(Broken("fold", (script, json.dumps({victim: name for name, victim in broken.items()}))))
        answer = _verify(run, truths, broken)
        deadline = time.monotonic() + LIMIT_S  # until the fold has read all, and history, which lags, is written
        while answer.lines.keys() != set(broken.values()) and time.monotonic() < deadline:
            time.sleep(1.0)
            answer = _verify(run, truths, broken)
        run.check()
        run.stop()
    return answer


def _by_day() -> str:
    """A time of the last 24 h at which cars drive, whatever time it is for those who test: history is compared for a
    day."""
    now = datetime.now(UTC)
    hours = (now.replace(hour=hour, minute=0, second=0) - timedelta(days=back) for back in (0, 1) for hour in (13, 11))
    return next(f"{hour:%Y-%m-%dT%H:%M:%SZ}" for hour in hours if hour < now - timedelta(seconds=1.2 * SIMULATED_S))


def _verify(run: programs.Programs, truths: list[Path], broken: dict[str, str]) -> Verified:
    named = [word for truth in truths for word in ("--truth", str(truth))]
    options = ("--history-assets", "20", "--differences-max", "1000000")
    code, output = run.run(services.Program("verify", (services.SIMULATOR, "verify", *named, *options)), LIMIT_S)
    *differences, last = output.strip().splitlines()
    lines: dict[str, list[str]] = defaultdict(list)
    for line in differences:
        _, whose, text = line.split(": ", 2)
        lines[whose].append(text)
    return Verified(code, broken, dict(lines), last)


def _victims(truths: list[Path]) -> dict[str, str]:
    """For each fault an asset or a customer of its own that it shows on."""
    read = [Truth(directory) for directory in truths]
    world, all_followed = expect.read(read, 20), expect.read(read, 10**6)  # of 20 the history is compared
    in_history = {asset_id for asset_id, asset in world.assets.items() if asset.is_followed}
    assets = [all_followed.expected(asset_id) for asset_id in all_followed.asset_ids]
    talkers = [asset for asset in assets if asset.messages.sure > 40 and ODOMETER in asset.signals]
    victims: dict[str, str] = {}

    def choose(name: str, suits: Callable[[Expected], object], among: list[Expected] = talkers) -> None:
        free = [asset for asset in among if asset.asset_id not in victims.values() and suits(asset)]
        assert free, f"no asset suits: {name}"
        victims[name] = free[0].asset_id

    sick = [asset for asset in assets if findings.required(asset)]
    for name in ("forgets a finding", "cries wolf", "shows good health"):
        choose(name, lambda asset: "brake_pads_worn" not in asset.faults, sick)
    talkers[:] = [asset for asset in talkers if not asset.faults]
    choose("forgets history", lambda asset: asset.asset_id in in_history)
    for name in ("loses an event", "garbles an event"):
        choose(name, lambda asset: len(asset.events) == 1, assets)
    choose("keeps an old value", lambda asset: len({at.value for at in asset.series[ODOMETER]}) > 1)
    choose("swaps two signals", lambda asset: len({asset.signals[path].value for path in PRESSURES}) == 2)
    choose("forgets the software", lambda asset: asset.software)
    choose("ignores farewells", lambda asset: asset.connection is not None and asset.connection[1])
    choose("loses an owner", lambda asset: expect.holder(world, asset, 2**42) is not None)
    _choose_customers(world, victims)
    for name in [fault for fault in SAID if fault not in victims]:
        choose(name, lambda asset: True)
    return victims


def _choose_customers(world: World, victims: dict[str, str]) -> None:
    doers = set(world.activities.values())
    unwilling = [one for one, profile in sorted(world.profiles.items()) if not all(profile.consents.values())]
    victims["gives consent"] = unwilling[0]
    victims["loses what a customer did"] = next(one for one in sorted(doers) if one != unwilling[0])


def test_the_oracle_says_that_something_is_wrong(verified: Verified) -> None:
    assert verified.code == exits.FAILED
    assert re.fullmatch(
        r"verified: \d+ sent, \d+ folded, [1-9]\d* lost, [1-9]\d* doubled, [1-9]\d* wrong", verified.last
    )


@pytest.mark.parametrize("fault", SAID)
def test_each_fault_is_said_of_who_it_befell_in_a_line_that_a_person_understands(
    verified: Verified, fault: str
) -> None:
    lines = verified.lines.get(verified.broken[fault], [])
    assert any(re.fullmatch(SAID[fault], line) for line in lines), lines


def test_of_everybody_else_nothing_is_said(verified: Verified) -> None:
    assert verified.lines.keys() == set(verified.broken.values())
