"""What is done when Kafka does not want a parcel."""

from edge.counts import Counts
from edge.letters import Source
from edge.lineup import Lineup
from edge.outbox import Outbox
from edge.pacing import Pacing
from edge.parcels import Claim, Packer, Parcel
from edge.spool.chain import Position
from edge.spool.reader import Chunk
from edge.spool.records import StorageClass
from tests.edge_disk import message, numbers_in
from tests.edge_fakes import BROKEN, LATER, REFUSED, FakeSink
from wire import batches
from wire.messages import Batch
from wire.topics import Channel

SOURCE = Source("gw", "e")


class World:
    """An outbox, its client, and what was delivered."""

    def __init__(self) -> None:
        self.sink = FakeSink()
        self.counts = Counts()
        self.delivered: list[Parcel] = []
        self.packer = Packer(SOURCE)
        self.outbox = Outbox(self.sink, self.packer, self.counts, self.delivered.extend, Lineup(50), Pacing(0, 0.0))
        self.now_s = 0.0

    def put(self, *numbers: int, asset_id: str = "car-1", channel: Channel = Channel.SIGNALS) -> None:
        chunk = Chunk(StorageClass.SIGNALS, [], 0, len(numbers), len(numbers), Position(0, 0))
        members = [(number, message(number, channel, asset_id)) for number in numbers]
        self.outbox.put(self.packer.batch(members, [Claim(chunk, len(numbers))]))

    def turn(self, after_s: float = 0.0) -> list[list[int]]:
        """Send and settle; the numbers of what the client holds now."""
        self.now_s += after_s
        self.outbox.settle(lambda: self.now_s)
        self.outbox.send(self.now_s)
        return [numbers_in(parcel) for parcel in self.sink.held]


def test_a_full_client_queue_makes_parcels_wait_in_order() -> None:
    world = World()
    world.sink.room = 2
    for number in range(4):
        world.put(number)
    assert world.turn() == [[0], [1]]
    world.sink.deliver(1)
    assert world.turn() == [[1], [2]]
    world.sink.deliver()
    assert world.turn() == [[3]]


def test_a_refused_batch_is_sent_alone_then_its_payloads_alone_then_the_bad_one_is_a_dead_letter() -> None:
    world = World()
    world.put(0, 1)
    world.put(2)
    world.turn()
    world.sink.refuse(REFUSED, 1)
    assert world.turn() == [[2]], "it waits until nothing else is in flight"
    world.sink.deliver()
    assert world.turn() == [[0, 1]]
    world.put(3)
    assert world.turn() == [[0, 1]], "alone"
    world.sink.refuse(REFUSED)
    assert world.turn() == [[0]]
    world.sink.deliver()
    assert world.turn() == [[1]]
    world.sink.refuse(REFUSED)
    world.turn()
    (letter,) = world.sink.held
    headers = dict(letter.headers)
    assert letter.topic == "fleet.signals.v1.dlq"
    assert letter.value == b"1:"
    assert headers["dlq_reason"] == b"refused_by_kafka"
    assert headers["dlq_origin"] == b"mqtt:dt/fleet/vehicle/car-1/signals#gw/e/1"
    assert world.counts.dead_letters == {"refused_by_kafka": 1}
    world.sink.deliver()
    assert world.turn() == [[3]]
    world.sink.deliver()
    world.turn()
    assert len(world.outbox) == 0
    assert sum(parcel.record_count for parcel in world.delivered) == 4


def test_a_batch_refused_for_anothers_sake_is_delivered_whole() -> None:
    world = World()
    world.put(0, 1)
    world.turn()
    world.sink.refuse(REFUSED)
    assert world.turn() == [[0, 1]]
    world.sink.deliver()
    world.turn()
    assert [parcel.record_count for parcel in world.delivered] == [2]
    assert not world.counts.dead_letters


def test_a_dead_letter_that_is_refused_stays_and_says_so() -> None:
    world = World()
    world.put(0)
    for _ in range(3):
        world.turn()
        world.sink.refuse(REFUSED)
    assert world.turn() == []
    assert world.outbox.fault == "kafka refuses a dead letter: fleet.signals.v1.dlq: too large"
    assert len(world.outbox) == 1
    world.put(7)
    assert world.turn() == [[7]], "others pass"
    world.sink.deliver()
    world.turn(after_s=61)
    world.sink.deliver()
    world.turn()
    assert world.outbox.fault is None
    assert len(world.outbox) == 0


def test_a_topic_that_takes_nothing_waits_and_others_pass() -> None:
    world = World()
    for number in range(3):
        world.put(number)
    world.turn()
    world.sink.refuse(LATER)
    world.put(3)
    world.put(4, channel=Channel.EVENTS)
    assert world.turn() == [[4]]
    assert world.outbox.fault == "fleet.signals.v1: not authorized"
    world.sink.deliver()
    assert world.turn(after_s=0.9) == []
    assert world.turn(after_s=0.2) == [[0]], "one is tried"
    world.sink.refuse(LATER)
    assert world.turn() == []
    assert world.turn(after_s=1.9) == [], "the pause grows"
    assert world.turn(after_s=0.2) == [[0]]
    world.sink.deliver()
    assert world.turn() == [[1], [2], [3]], "the others follow in order"
    assert world.outbox.fault is None


def test_the_trial_of_a_parked_topic_survives_a_full_client_queue() -> None:
    world = World()
    world.put(0)
    world.turn()
    world.sink.refuse(LATER)
    world.turn()
    world.sink.room = 0
    assert world.turn(after_s=2) == []
    world.sink.room = 10
    assert world.turn() == [[0]]


def test_a_broken_client_is_noticed_and_a_new_one_starts_with_nothing() -> None:
    world = World()
    world.put(0)
    world.put(1)
    world.turn()
    world.sink.refuse(BROKEN, 1)
    world.outbox.settle(lambda: 0.0)
    assert world.outbox.is_broken
    world.outbox.rebuild()
    assert not world.outbox.is_broken
    assert world.sink.rebuilds == 1
    assert len(world.outbox) == 0
    assert world.counts.resent == 1
    assert world.counts.kafka_errors == {"OUT_OF_ORDER_SEQUENCE_NUMBER": 1}


def test_a_parcel_is_a_batch_of_the_contract() -> None:
    world = World()
    world.put(5, 6, 9)
    world.turn()
    batch = batches.decode(world.sink.held[0].value)
    assert isinstance(batch, Batch)
    assert (batch.gateway, batch.epoch, batch.first_sequence, batch.sequence_offsets) == ("gw", "e", 5, [0, 1, 4])
    assert world.sink.held[0].key == b"car-1"
