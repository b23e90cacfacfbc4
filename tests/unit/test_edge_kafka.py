"""The Kafka client where no broker is: what it queues, and what its errors mean."""

from collections.abc import Iterator

import pytest
from confluent_kafka import KafkaError, KafkaException

from edge.config import EdgeKafkaSettings
from edge.counts import Counts
from edge.kafka import KafkaSink, judge
from edge.letters import Source
from edge.parcels import Claim, Packer, Parcel, Verdict
from edge.spool.chain import Position
from edge.spool.reader import Chunk
from edge.spool.records import StorageClass
from tests.certificates import Authority
from tests.edge_disk import ManualClock, message


def parcel(number: int = 0, size: int = 10) -> Parcel:
    chunk = Chunk(StorageClass.SIGNALS, [], 0, 1, 1, Position(0, 0))
    return Packer(Source("gw", "e")).batch([(number, message(number, size=size))], [Claim(chunk, 1)])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sink(clock: ManualClock, free_port: int) -> Iterator[KafkaSink]:
    settings = EdgeKafkaSettings(
        bootstrap_servers=f"127.0.0.1:{free_port}", queue_batches_max=3, request_bytes_max=200_000
    )
    client = KafkaSink(settings, "test", clock, Counts())
    yield client
    client.close()


def test_a_full_queue_is_said_and_nothing_dropped(sink: KafkaSink) -> None:
    assert [sink.send(parcel(number)) for number in range(5)] == [True, True, True, False, False]
    assert sink.reports() == []


def test_a_record_that_is_too_large_is_reported_as_refused(sink: KafkaSink) -> None:
    large = parcel(size=300_000)
    assert sink.send(large)
    ((reported, error),) = sink.reports()
    assert reported is large
    assert error is not None
    assert (error.verdict, error.name) == (Verdict.REFUSED, "MSG_SIZE_TOO_LARGE")


def test_a_parcel_leaves_its_value_with_the_client_and_has_it_back_when_it_fails(sink: KafkaSink) -> None:
    given = parcel(7)
    value = given.value
    assert sink.send(given)
    assert (given.value, given.size_bytes) == (b"", len(value))
    sink._producer.purge(blocking=False)
    ((reported, error),) = sink.reports(5.0)
    assert error is not None
    assert (reported, reported.value) == (given, value)


def test_a_client_that_is_silent_with_something_in_flight_is_broken(sink: KafkaSink, clock: ManualClock) -> None:
    clock.advance_ms(200_000)
    assert not sink.is_broken, "nothing in flight"
    sink.send(parcel())
    assert not sink.is_broken
    clock.advance_ms(130_000)
    assert sink.is_broken
    sink.rebuild()
    assert not sink.is_broken
    assert sink.send(parcel())
    assert sink.reports() == [], "nothing of what the old client had"


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        (KafkaError.MSG_SIZE_TOO_LARGE, Verdict.REFUSED),
        (KafkaError.INVALID_RECORD, Verdict.REFUSED),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Verdict.LATER),
        (KafkaError._UNKNOWN_TOPIC, Verdict.LATER),
        (KafkaError._UNKNOWN_PARTITION, Verdict.LATER),
        (KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, Verdict.CLIENT_BROKEN),
        (KafkaError._PURGE_QUEUE, Verdict.CLIENT_BROKEN),
        (KafkaError._FATAL, Verdict.CLIENT_BROKEN),
    ],
)
def test_what_an_error_means(code: int, verdict: Verdict) -> None:
    assert judge(KafkaError(code)).verdict is verdict


def test_a_fatal_error_breaks_the_client_whatever_its_code() -> None:
    assert judge(KafkaError(KafkaError.INVALID_RECORD, "x", True)).verdict is Verdict.CLIENT_BROKEN


def renewed(sink: KafkaSink, free_port: int) -> None:
    sink.renew(EdgeKafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port}", queue_batches_max=1))


def test_other_settings_count_at_once_when_nothing_is_in_flight(sink: KafkaSink, free_port: int) -> None:
    renewed(sink, free_port)
    sink.reports()
    assert [sink.send(parcel(number)) for number in range(2)] == [True, False]


def test_other_settings_wait_for_what_is_in_flight_but_not_for_ever(
    sink: KafkaSink, free_port: int, clock: ManualClock
) -> None:
    assert sink.send(parcel(0))
    renewed(sink, free_port)
    sink.reports()
    assert not sink.send(parcel(1)), "the next parcel is for the new client"
    assert not sink.is_broken
    clock.advance_ms(11_000)
    assert sink.is_broken
    sink.rebuild()
    assert not sink.is_broken
    assert [sink.send(parcel(number)) for number in range(2)] == [True, False]


def test_settings_that_cannot_be_used_change_nothing(sink: KafkaSink, authority: Authority, free_port: int) -> None:
    settings = EdgeKafkaSettings(
        bootstrap_servers=f"127.0.0.1:{free_port}", security_protocol="ssl", ca_file=authority.ca
    )
    whole = authority.ca.read_bytes()
    authority.ca.write_bytes(b"half of it")
    with pytest.raises(KafkaException):
        sink.renew(settings)
    authority.ca.write_bytes(whole)
    assert [sink.send(parcel(number)) for number in range(4)] == [True, True, True, False]
