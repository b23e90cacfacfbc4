"""The bounded queue between two threads."""

import threading
import time

from edge.inbox import Delivery, Inbox
from tests.edge_fakes import delivery


def received(number: int, size: int = 1) -> Delivery:
    return delivery("t", b"x" * size, number)


def ids(deliveries: list[Delivery]) -> list[int]:
    return [int.from_bytes(each, "big") for delivery in deliveries for each in delivery.pubacks]


def test_messages_come_out_once_in_order() -> None:
    inbox = Inbox(10, 100_000)
    for number in range(3):
        inbox.put(received(number))
    assert ids(inbox.take(0.0)) == [0, 1, 2]
    assert inbox.take(0.0) == []


def test_take_returns_as_soon_as_something_comes() -> None:
    inbox = Inbox(10, 100_000)
    threading.Timer(0.05, inbox.put, [received(1)]).start()
    started = time.monotonic()
    assert ids(inbox.take(10.0)) == [1]
    assert time.monotonic() - started < 5


def test_take_gathers_company_until_there_is_enough() -> None:
    inbox = Inbox(10, 100_000)
    inbox.put(received(0))
    threading.Timer(0.05, lambda: [inbox.put(received(number)) for number in (1, 2)]).start()
    started = time.monotonic()
    assert ids(inbox.take(1.0, gather_s=10.0, enough=3)) == [0, 1, 2]
    assert time.monotonic() - started < 5


def test_a_full_inbox_makes_those_who_ask_wait_and_drops_nothing() -> None:
    for inbox, size in ((Inbox(2, 1_000_000), 1), (Inbox(1_000, 1_100), 50)):
        room = threading.Event()
        inbox.on_room(room.set)

        def produce(box: Inbox = inbox, n: int = size, room: threading.Event = room) -> None:
            for number in range(6):
                while box.is_full:
                    room.wait(5)
                    room.clear()
                box.put(received(number, n))

        producer = threading.Thread(target=produce)
        producer.start()
        time.sleep(0.05)
        assert len(inbox) == 2
        taken: list[int] = []
        while len(taken) < 6:
            taken += ids(inbox.take(5.0))
        producer.join(5)
        assert taken == list(range(6))


def test_each_topic_counts_for_what_it_costs_beside_its_payloads() -> None:
    """A thousand devices that send one message each need more memory than one device that sends a thousand."""
    alike, apart = Inbox(1_000, 50_000), Inbox(1_000, 50_000)
    for number in range(100):
        alike.put(delivery("t", b"x", number))
        apart.put(delivery(f"t{number}", b"x", number))
    assert (alike.is_full, apart.is_full) == (False, True)
    apart.take(0.0)
    assert not apart.is_full


def test_a_full_inbox_ends_gathering() -> None:
    inbox = Inbox(2, 100_000)
    inbox.put(received(0))
    inbox.put(received(1))
    started = time.monotonic()
    assert len(inbox.take(1.0, gather_s=10.0, enough=5)) == 2
    assert time.monotonic() - started < 5


def test_close_frees_whoever_waits() -> None:
    inbox = Inbox(1, 100_000)
    results: list[list[Delivery]] = []
    consumer = threading.Thread(target=lambda: results.append(inbox.take(60)))
    consumer.start()
    inbox.close()
    consumer.join(5)
    assert results == [[]]
    assert not inbox.put(received(1))
