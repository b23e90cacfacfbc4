"""The loop, with a disk, a Kafka client and an MQTT side that fail when told to."""

import errno
import threading
from collections.abc import Callable

from edge.spool.records import StorageClass
from edge.spool.spool import Limits as SpoolLimits
from tests import edge_rules_world as rules_world
from tests.edge_agent_world import World
from tests.edge_fakes import BROKEN
from wire import batches
from wire.messages import Batch


def test_a_message_is_acknowledged_only_after_its_bytes_are_synced() -> None:
    world = World()
    order: list[str] = []
    acknowledge = world.receiver.acknowledge

    def watched(messages: list[object]) -> None:
        if messages:
            order.extend(operation for operation, _ in world.disk.log)
            order.append("acknowledge")
        acknowledge(messages)  # type: ignore[arg-type] # only to look on

    world.agent._receiver.acknowledge = watched  # type: ignore[method-assign, assignment] # only to look on
    world.receiver.signals(0)
    world.agent.turn()
    assert order[-5:] == ["create", "append", "sync", "sync_directory", "acknowledge"]


def test_messages_are_acknowledged_in_the_order_received() -> None:
    world = World()
    world.receiver.signals(4, 2)
    world.receiver.put("no/topic/of/ours", b"x", 9)
    world.receiver.put("state/fleet/vehicle/car-1/connection", b"", 1)
    world.receiver.signals(7)
    world.agent.turn()
    assert world.receiver.acknowledged == [5, 3, 9, 1, 8]


def test_what_kafka_confirmed_is_checkpointed_and_not_sent_again() -> None:
    world = World()
    world.receiver.signals(0, 1, 2)
    world.turns()
    world.sink.deliver()
    world.turns(1)
    world.agent.request_checkpoint()
    world.turns(1)
    world.reopen()
    world.receiver.signals(3)
    world.turns()
    world.sink.deliver()
    assert world.delivered() == [0, 1, 2, 3]


def test_a_disk_that_takes_nothing_stops_acknowledging_and_nothing_is_lost() -> None:
    world = World()
    world.receiver.signals(0)
    world.turns(1)
    world.fail("append", "create", "sync")
    world.receiver.signals(1, 2)
    world.turns(3)
    world.receiver.signals(3)
    world.turns(5)
    assert world.receiver.acknowledged == [1]
    assert [len(world.receiver.waiting)] == [1], "the broker waits"
    assert world.agent.disk_fault == "append: refused"
    assert world.counts.disk_errors["append"] >= 1
    world.disk.fault = None
    world.turns(10, pause_ms=100)
    assert world.receiver.acknowledged == [1, 2, 3, 4]
    assert world.agent.disk_fault is None
    world.sink.deliver()
    assert world.delivered() == [0, 1, 2, 3]


def test_a_refusing_disk_is_not_tried_in_every_turn() -> None:
    world = World()
    world.fail("append", "create")
    world.receiver.signals(0)
    world.turns(20, pause_ms=0)
    assert world.counts.disk_errors["append"] <= 1 + world.clock.elapsed_s / 0.5


def test_records_flow_to_kafka_while_the_disk_takes_nothing() -> None:
    world = World()
    world.receiver.signals(0, 1)
    world.agent.turn()
    world.fail("append", "create")
    world.receiver.signals(2)
    world.turns()
    world.sink.deliver()
    assert world.delivered() == [0, 1]


def test_no_more_than_the_window_is_on_its_way() -> None:
    world = World(SpoolLimits(10_000_000, 1_000_000, 4_000), window_bytes_max=20_000)
    for first in range(0, 400, 10):
        world.receiver.signals(*range(first, first + 10), size=1_000)
        world.turns(1)
    held = sum(len(parcel.value) for parcel in world.sink.held)
    assert 10_000 < held < 32_000
    assert world.spool.undelivered == 400
    for _ in range(100):
        world.sink.deliver()
        world.turns(2)
    assert world.delivered() == list(range(400))
    assert world.spool.undelivered == 0


def test_with_as_much_on_its_way_as_may_be_the_loop_waits_for_kafka_and_not_for_messages() -> None:
    """Also when Kafka says nothing for a while: whoever waits for messages meanwhile sends nothing more."""
    world = World(SpoolLimits(10_000_000, 1_000_000, 4_000), window_bytes_max=20_000)
    for first in range(0, 400, 10):
        world.receiver.signals(*range(first, first + 10), size=1_000)
        world.turns(1, pause_ms=1)
    for pause_ms in (1, 30, 30, 300, 30):  # in between: nothing confirmed, nothing sent
        world.turns(2, pause_ms)
        assert (world.receiver.waits_s[-1], world.sink.waits_s[-1]) == (0.0, 0.02)
    world.turns(4, pause_ms=1_000)
    assert (world.receiver.waits_s[-1], world.sink.waits_s[-1]) == (0.04, 0.0), "Kafka is away"
    world.sink.deliver()
    world.turns(2, pause_ms=1)
    assert world.receiver.waits_s[-1] == 0.0, "and is back"


def test_what_the_client_does_not_take_is_waited_for_as_well() -> None:
    world = World()
    world.sink.room = 1
    for number in range(3):
        world.receiver.signals(number, asset_id=f"car-{number}")
    world.turns(1)
    for _ in range(2):
        world.sink.deliver()
        world.turns(2, pause_ms=1)
        assert (world.receiver.waits_s[-1], world.sink.waits_s[-1]) == (0.0, 0.02)
    world.sink.deliver()
    world.turns(2, pause_ms=1)
    assert world.receiver.waits_s[-1] > 0, "nothing is left to send"


def test_signals_that_are_stuck_do_not_stop_events() -> None:
    world = World(SpoolLimits(10_000_000, 1_000_000, 4_000), window_bytes_max=5_000)
    world.receiver.signals(*range(50), size=1_000)
    world.turns()
    world.receiver.put("dt/fleet/vehicle/car-1/events", b"99:", 99)
    world.turns()
    assert any(parcel.topic == "fleet.events.v1" for parcel in world.sink.held)


def test_a_broken_client_is_replaced_and_goes_on_from_the_last_confirmed_record() -> None:
    world = World()
    world.receiver.signals(0)
    world.turns()
    world.receiver.signals(1)
    world.turns()
    world.receiver.signals(2)
    world.turns()
    world.sink.deliver(1)
    world.sink.refuse(BROKEN, 1)
    world.turns(4)
    assert world.sink.rebuilds == 1
    world.sink.deliver()
    world.turns()
    assert world.delivered() == [0, 1, 2]
    assert world.spool.undelivered == 0


def test_a_client_that_breaks_again_is_not_replaced_in_every_turn() -> None:
    world = World()
    world.receiver.signals(0)
    for _ in range(20):
        world.sink.broken = True
        world.turns(1)
    assert world.sink.rebuilds == 1
    world.clock.advance_ms(5_000)
    world.turns(1)
    assert world.sink.rebuilds == 2


def test_bad_messages_are_dead_letters_with_distinct_origins() -> None:
    world = World()
    world.receiver.put("nonsense", b"a", 1)
    world.receiver.put("nonsense", b"a", 2)
    world.turns()
    origins = [dict(parcel.headers)["dlq_origin"].decode() for parcel in world.sink.held]
    epoch = world.spool.epoch
    assert origins == [f"mqtt:nonsense#gw/{epoch}/0", f"mqtt:nonsense#gw/{epoch}/1"]
    assert {parcel.topic for parcel in world.sink.held} == {"fleet.signals.v1.dlq"}
    assert world.counts.dead_letters == {"bad_topic": 2}


def test_an_eviction_reaches_kafka_as_a_gap_record() -> None:
    world = World(SpoolLimits(4_000, 1_000, 500), window_bytes_max=10_000)
    world.sink.room = 0
    for number in range(12):
        world.receiver.signals(number, size=400)
        world.turns(1)
    world.sink.room = 100
    world.turns(4)
    letters = [parcel for parcel in world.sink.held if parcel.topic == "fleet.signals.v1.dlq"]
    assert letters
    assert dict(letters[0].headers)["dlq_reason"] == b"evicted"
    assert b'"count":2' in letters[0].value


def run_with_stop(world: World, during: Callable[[], None]) -> None:
    """Run the loop; stop it after the first turn, doing `during` in each sleep."""
    stop = threading.Event()
    sleep = world.clock.sleep

    def sleeping(seconds: float) -> None:
        during()
        sleep(seconds)

    world.clock.sleep = sleeping  # type: ignore[method-assign] # only to look on
    stop.set()
    world.agent.run(stop)
    world.agent.finish()


def test_a_stop_flushes_what_is_young_and_writes_a_checkpoint() -> None:
    world = World()
    world.receiver.signals(0, 1)
    run_with_stop(world, world.sink.deliver)
    assert world.receiver.stopped
    assert len(world.receiver.acknowledged) == 2
    assert world.delivered() == [0, 1]
    assert world.spool.undelivered == 0
    assert "checkpoint.0" in world.disk.durable_names


def test_a_stop_without_kafka_ends_in_time_and_keeps_everything() -> None:
    world = World()
    world.receiver.signals(0, 1)
    run_with_stop(world, lambda: None)
    assert world.clock.elapsed_s < 3.0
    world.reopen()
    assert world.spool.undelivered_of(StorageClass.SIGNALS) == 2


def test_an_idle_loop_waits_long_and_a_young_batch_shortens_it() -> None:
    world = World()
    world.turns(3)
    assert world.receiver.waits_s[-1] == 0.25
    world.receiver.signals(0)
    world.turns(1, pause_ms=10)
    world.agent.turn()
    assert world.receiver.waits_s[-1] <= 0.05


def test_what_rules_keep_is_acknowledged_only_when_it_is_durable_and_judged_only_once() -> None:
    world = World()
    bench = rules_world.engine(rules_world.rule(deadband=1.0))
    world.agent._collect = bench.engine.apply
    world.fail("append", "create", "sync")
    first = rules_world.message(0, {rules_world.SPEED: 5.0})
    second = rules_world.message(1000, {rules_world.SPEED: 5.5}, seq=1)
    for number, each in enumerate((first, second)):
        world.receiver.put("dt/fleet/vehicle/car-1/signals", each.payload, number + 1)
    world.turns(3)
    assert world.receiver.acknowledged == []
    world.disk.fault = None
    world.turns(10, pause_ms=100)
    assert world.receiver.acknowledged == [1, 2]
    batch = batches.decode(world.sink.held[0].value)
    assert isinstance(batch, Batch)
    kept = [rules_world.samples_of([rules_world.raw_message(payload)]) for payload in batch.payloads]
    assert kept == [[(0, rules_world.SPEED, 5.0)], []]


def test_a_disk_that_becomes_read_only_stops_acknowledging_and_nothing_is_lost() -> None:
    world = World()
    world.receiver.signals(0)
    world.turns()
    world.fail("append", "create", "overwrite", "delete", "rename", "truncate", error=errno.EROFS)
    world.receiver.signals(1)
    world.agent.request_checkpoint()
    world.turns(5, pause_ms=300)
    assert world.receiver.acknowledged == [1]
    assert world.agent.disk_fault == "append: refused"
    world.sink.deliver()
    world.turns(2)
    assert world.delivered() == [0], "what is on disk is sent all the same"
    world.disk.fault = None
    world.turns(5, pause_ms=600)
    assert world.receiver.acknowledged == [1, 2]
    assert world.agent.disk_fault is None
    world.sink.deliver()
    world.turns(2)
    assert world.delivered() == [0, 1]


def test_an_append_that_takes_long_is_a_fault_until_one_is_quick_again() -> None:
    world = World()

    def slow(operation: str, name: str) -> None:
        if operation == "sync":
            world.clock.advance_ms(3_000)

    world.disk.fault = slow
    world.receiver.signals(0)
    world.agent.turn()
    assert world.receiver.acknowledged == [1]
    assert world.agent.disk_fault == "the last append took 3.0 s"
    world.disk.fault = None
    world.receiver.signals(1)
    world.agent.turn()
    assert world.agent.disk_fault is None
