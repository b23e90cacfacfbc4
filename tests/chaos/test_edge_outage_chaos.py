"""Three days without Kafka, in simulated time: power cuts, clock jumps, a spool that runs full, records that expire."""

import os
import random
from collections.abc import Callable

import structlog

from edge.inbox import Connection, Delivery
from edge.spool.spool import Limits
from tests import edge_chaos
from tests.edge_agent_world import World
from tests.edge_chaos import CHANNELS, Key, Ledger
from tests.edge_disk import Crash

SEED = int(os.environ.get("FLEETFOLD_EDGE_SEED") or random.randrange(2**32))
STEP_S = 30
STEPS = 3 * 24 * 3600 // STEP_S
LIMITS = Limits(4_500_000, 131_072, 65_536, signals_age_s=36 * 3600)


class Broker:
    """Keeps what is not acknowledged, as an MQTT broker does, and tells the devices what is."""

    def __init__(self) -> None:
        self.ledgers = [Ledger(f"car-{number}") for number in range(4)]
        self.waiting: list[tuple[int, Ledger, Key, str, bytes]] = []
        self._number = 0
        self._given = 0
        self.now_ms: Callable[[], int] = lambda: 0

    def publish(self, chance: random.Random) -> None:
        ledger = chance.choice(self.ledgers)
        channel = chance.choices(CHANNELS, (20, 1))[0]
        key, payload = ledger.say(channel, chance.randint(0, 200))
        self.waiting.append((self._number, ledger, key, channel, payload))
        self._number += 1

    def reconnect(self) -> None:
        """Whatever was not acknowledged is given again."""
        self._given = 0

    def take(self, wait_s: float) -> list[Delivery]:
        taken, self._given = self.waiting[self._given :], len(self.waiting)
        return [self._delivery(*each) for each in taken]

    def _delivery(self, number: int, ledger: Ledger, _key: Key, channel: str, payload: bytes) -> Delivery:
        made = Delivery(Connection(0, 1), self.now_ms(), count=1, size_bytes=len(payload))
        made.pubacks.append(number.to_bytes(8, "big"))
        made.payloads[f"dt/fleet/vehicle/{ledger.asset_id}/{channel}".encode()] = [payload]
        return made

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        done = {int.from_bytes(each, "big") for delivery in deliveries for each in delivery.pubacks}
        for number, ledger, key, _, _ in self.waiting:
            if number in done:
                ledger.acknowledged.add(key)
        self.waiting = [each for each in self.waiting if each[0] not in done]
        self._given -= len(done)

    def stop(self) -> None:
        """Nothing to part from."""


class Outage:
    """The agent in one process, on a disk that loses what was not synced."""

    def __init__(self) -> None:
        self.chance = random.Random(SEED)
        self.broker = Broker()
        self.world = World(LIMITS)
        self.world.disk.chance = self.chance
        self.world.receiver = self.broker  # type: ignore[assignment] # the same three methods
        self.broker.now_ms = self.world.clock.now_ms
        self.values: list[tuple[str, bytes, list[tuple[str, bytes]]]] = []
        self.cuts = 0
        self.restart()

    def restart(self) -> None:
        self.world.sink.held.clear()
        self.world.sink.pending.clear()
        self.broker.reconnect()
        self.world.reopen()

    def step(self, seconds: float, messages: int) -> None:
        for _ in range(messages):
            self.broker.publish(self.chance)
        try:
            self.world.agent.request_checkpoint()
            self.world.agent.turn()
        except Crash:
            self.world.disk = self.world.disk.after_crash()
            self.cuts += 1
            self.restart()
        self.world.clock.advance_ms(seconds * 1000)

    def take_from_kafka(self) -> None:
        for parcel in self.world.sink.held:
            self.values.append((parcel.topic, parcel.value, parcel.headers))
        self.world.sink.deliver()


def test_after_three_days_without_kafka_everything_is_there_or_named() -> None:
    print(f"\nseed {SEED}")  # noqa: T201 - a failure must be repeatable
    with structlog.testing.capture_logs():
        live_through()


def live_through() -> None:
    outage = Outage()
    chance, world = outage.chance, outage.world
    world.sink.room = 0
    for step in range(STEPS):
        if chance.random() < 0.004:
            world.disk.crash_at = world.disk.operations + chance.randint(1, 12)
        if step in (STEPS // 4, STEPS // 2):
            world.clock.wall_ms -= 7_200_000
        if step == STEPS // 3:
            world.clock.wall_ms += 3_600_000
        outage.step(STEP_S, chance.randint(0, 8 if step < STEPS * 2 // 3 else 16))  # first age, then space runs out
    assert world.spool.size_bytes <= LIMITS.bytes_max
    world.sink.room = 4
    for _ in range(300):  # a slow link: live data beside the backlog
        outage.step(1, chance.randint(0, 2))
        outage.take_from_kafka()
    world.disk.crash_at = None
    world.sink.room = 1_000
    for _ in range(3_000):
        outage.step(0.1, 0)
        outage.take_from_kafka()
        if not world.spool.undelivered and not outage.broker.waiting:
            break
    arrived = {
        channel: edge_chaos.arrivals(
            (value for topic, value, _ in outage.values if topic == f"fleet.{channel}.v1"), "gw"
        )
        for channel in CHANNELS
    }
    lost = edge_chaos.gaps(
        ((value, headers) for topic, value, headers in outage.values if topic.endswith(".dlq")), "gw"
    )
    verdict = edge_chaos.judge(outage.broker.ledgers, arrived, lost)
    reasons = {
        reason: sum(gap.count for gap in lost if gap.reason == reason) for reason in ("expired", "evicted", "corrupt")
    }
    print(f"{outage.cuts} power cuts; {verdict}; lost: {reasons}")  # noqa: T201 - what was tested
    assert not verdict.faults, "\n".join(verdict.faults[:20])
    assert outage.cuts > 10
    assert verdict.streams > 2, "the backlog was split"
    assert reasons["expired"] > 1_000
    assert reasons["evicted"] > 100
    assert not [gap for gap in lost if gap.storage_class == "events" and gap.count], "events outlive signals"
