"""The agent's promise under faults: what a device saw acknowledged is in Kafka, once by (session, seq) and in order.

Once means: after dropping re-sends by that key. An agent that is killed between Kafka's confirmation and its own
checkpoint sends again, under the same (epoch, sequence); a broker that did not get a PUBACK does, under another.
In order means: first arrivals, per asset and channel, within each stream of the spool.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.processes import Processes
from local.servers.base import Server
from tests import edge_chaos, edge_chaos_world
from tests.edge_chaos import CHANNELS, Device
from tests.edge_chaos_world import KILLS, SEED, World, heal, say
from tests.edge_world import wait_until

pytestmark = pytest.mark.timeout(7200)


@pytest.fixture
def world(processes: Processes, tmp_path: Path, bus: Server, small_disk: Path | None) -> Iterator[World]:
    with edge_chaos_world.opened(processes, tmp_path, bus, small_disk, Device) as world:
        yield world


def test_what_devices_saw_acknowledged_is_in_kafka_whatever_fails(world: World) -> None:
    say(f"\nseed {SEED}: FLEETFOLD_EDGE_SEED={SEED} plans the same faults")
    started_s = time.monotonic()
    plan = world.faults()
    for number, fault in enumerate(plan, 1):
        time.sleep(world.chance.uniform(0.05, 1.5))
        fault()
        world.done[fault.__name__] += 1
        if number % 25 == 0:
            say(f"{number} of {len(plan)} faults, {time.monotonic() - started_s:.0f} s")
    heal(world)
    arrived = {channel: world.arrivals(channel) for channel in CHANNELS}
    lost = world.gaps()
    verdict = edge_chaos.judge(world.fleet.devices, arrived, lost)
    say(f"{dict(world.done)} in {time.monotonic() - started_s:.0f} s; {verdict}; gap records: {sorted(lost)}")
    assert verdict.acknowledged > 20 * KILLS
    assert not verdict.faults, "\n".join(verdict.faults[:20])
    assert not [gap for gap in lost if gap.reason == "evicted"], "there was room"
    wait_until(lambda: bool(world.agent.health().get("healthy")), what=f"healthy again: {world.agent.health()}")
    assert world.agent.stop() == 0
