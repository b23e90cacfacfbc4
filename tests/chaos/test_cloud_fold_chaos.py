"""The twin service under kill -9 of everything it stands on. `make test-fold-chaos ROUNDS=200 SEED=1`."""

import os
import random
import secrets
import tempfile
import time
from pathlib import Path

import pytest
import typer

from local.processes import Processes
from tests import fold_chaos
from tests.fold_chaos import Fleet, Plant

ROUNDS = int(os.environ.get("FLEETFOLD_CHAOS_ROUNDS") or 6)
SEED = int(os.environ.get("FLEETFOLD_CHAOS_SEED") or secrets.randbelow(2**31))
CHECK_EVERY_ROUNDS = 20


@pytest.mark.timeout(120 + 60 * ROUNDS)
@pytest.mark.usefixtures("apache_kafka_available")
def test_twins_equal_the_oracles_after_kills_of_workers_mongod_and_broker(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Signals and counters byte for byte, events and findings once, whatever was killed, frozen, joined and left."""
    chance = random.Random(SEED)
    with capsys.disabled():
        typer.echo(f"\nfold chaos: seed {SEED}, {ROUNDS} rounds")
    with tempfile.TemporaryDirectory(prefix="fleetfold-chaos-", ignore_cleanup_errors=True) as directory:
        plant, fleet = Plant(processes, Path(directory), chance), Fleet(chance, 40)
        plant.start_worker()
        plant.start_worker()
        began_s = time.monotonic()
        try:
            for number in range(1, ROUNDS + 1):
                plant.send(fleet.batches(chance.randint(20, 200)))
                time.sleep(chance.uniform(0.2, 2.5))
                act = plant.act()
                plant.send(fleet.batches(chance.randint(20, 200)))
                plant.check_workers()
                with capsys.disabled():
                    typer.echo(f"round {number}: {act}, {fleet.world.sent} sent, {time.monotonic() - began_s:.0f} s")
                if number % CHECK_EVERY_ROUNDS == 0 or number == ROUNDS:
                    _verify(fleet, plant, last=number == ROUNDS)
        finally:
            for server in (*plant.workers, plant.kafka, plant.mongod):
                server.stop()
        with capsys.disabled():
            typer.echo(f"{fleet.world.sent} messages, {dict(sorted(plant.acts.items()))}: equal to the oracle's")


def _verify(fleet: Fleet, plant: Plant, last: bool) -> None:
    if last:
        plant.send(fleet.rest())
    plant.deliver()
    if not plant.workers:
        plant.start_worker()
    database = plant.database()
    try:
        if last:
            fold_chaos.wait_until_caught_up(fleet, plant, database)
            found = fold_chaos.differences(fleet, database)
            told = fold_chaos.anomaly_ids(plant)
            found += [
                f"{device.asset_id}: told {told.get(device.asset_id)}"
                for device in fleet.devices
                if len(told.get(device.asset_id, ())) != device.hot
            ]
            assert found == []
        else:
            fold_chaos.wait_until_caught_up(fleet, plant, database)
    finally:
        database.client.close()
