"""Misbehaviour: duplicates and late messages within a session, and every message still sent."""

from collections import Counter

from simulator.devices import Message
from simulator.misbehave import Misbehaviour
from wire.topics import Channel, Kind

STEPS = 400


def _message(device, number, channel=Channel.SIGNALS):
    return Message(device, Kind.VEHICLE, f"car-{device}", channel, str(number).encode())


def _sent(rate, seed=1):
    misbehaviour, sent = Misbehaviour(seed, rate), []
    for step in range(STEPS):
        sent += misbehaviour.pass_on([_message(device, step) for device in range(5)], step)
    return misbehaviour, sent + misbehaviour.release()


def test_without_a_rate_messages_pass_as_they_are():
    _, sent = _sent(0.0)
    assert sent == [_message(device, step) for step in range(STEPS) for device in range(5)]


def test_every_message_is_sent_exactly_once_as_new():
    misbehaviour, sent = _sent(0.3)
    fresh = Counter((m.device, m.payload) for m in sent if not m.again)
    assert set(fresh.values()) == {1}
    assert len(fresh) == 5 * STEPS
    assert misbehaviour.repeated > 100
    assert misbehaviour.delayed > 100


def test_a_repeated_message_is_the_same_message_and_comes_after_it():
    misbehaviour, sent = _sent(0.3)
    seen = set()
    again = 0
    for message in sent:
        key = (message.device, message.payload)
        if message.again:
            assert key in seen
            again += 1
        seen.add(key)
    assert again == misbehaviour.repeated


def test_some_messages_overtake_others():
    _, sent = _sent(0.3)
    numbers = [int(m.payload) for m in sent if m.device == 0 and not m.again]
    assert numbers != sorted(numbers)
    assert sorted(numbers) == list(range(STEPS))


def test_what_a_device_owes_is_sent_before_its_session_ends():
    misbehaviour = Misbehaviour(1, 1.0)
    for step in range(20):
        misbehaviour.pass_on([_message(device, step) for device in (0, 1)], step)
    ended = misbehaviour.pass_on([_message(0, b"bye", Channel.CONNECTION)], 20)
    place = next(i for i, m in enumerate(ended) if m.channel is Channel.CONNECTION)
    assert place > 0
    assert not [m for m in ended[place:] + misbehaviour.release() if m.device == 0 and m.channel is Channel.SIGNALS]


def test_the_seed_decides_what_goes_wrong():
    assert _sent(0.2, seed=3)[1] == _sent(0.2, seed=3)[1]
    assert _sent(0.2, seed=3)[1] != _sent(0.2, seed=4)[1]
