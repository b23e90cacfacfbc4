"""When reading pauses so that messages come together, and that it never holds a broker up."""

import itertools

import pytest

from edge.lull import Lull


def test_after_a_few_messages_nothing_is_read_for_the_pause() -> None:
    lull = Lull(0.2, many=250)
    assert lull.left_s(0.0) == 0
    lull.received(1, 10.0)
    assert abs(lull.left_s(10.05) - 0.15) < 1e-9
    assert lull.left_s(10.2) == 0


def test_at_a_higher_rate_pauses_are_as_long_as_many_messages_take() -> None:
    lull, now_s, reads = Lull(0.2, many=250), 10.0, []
    for _ in range(50):  # 5,000 a second
        due = 0 if not reads else round(5_000 * (now_s - reads[-1]))
        lull.received(max(1, due), now_s)
        reads.append(now_s)
        now_s += lull.left_s(now_s) or 0.001
    gaps_s = [after - before for before, after in itertools.pairwise(reads[10:])]
    assert sorted(gaps_s)[len(gaps_s) // 2] == pytest.approx(0.05, rel=0.2), "250 take 50 ms"
    assert max(gaps_s) < 0.08


def test_at_the_highest_rates_there_are_none() -> None:
    lull = Lull(0.2, many=250)
    lull.received(10_000, 10.0)
    for number in range(100):  # also when the next reads bring few
        lull.received(6, 10.0 + number * 0.001)
        assert lull.left_s(10.0 + number * 0.001) == 0


def test_pauses_return_after_a_quiet_time() -> None:
    lull = Lull(0.2, many=250)
    lull.received(10_000, 10.0)
    lull.received(1, 10.7)
    assert lull.left_s(10.7) > 0


def test_a_read_that_left_some_behind_counts_and_is_followed_by_another_at_once() -> None:
    lull = Lull(0.2, many=250)
    lull.received(2_000, 10.0, may_be_more=True)
    assert lull.left_s(10.0) == 0
    lull.received(1, 10.001)
    assert 0 < lull.left_s(10.001) < 0.03


def passed(seconds: float, rate: float, window: int, lull: Lull, round_trip_s: float = 0.002) -> int:
    """Messages of a broker that has `rate` a second for us and sends at most `window` without an acknowledgement."""
    now_s, came, read = 0.0, 0.0, 0
    while now_s < seconds:
        now_s += lull.left_s(now_s) or round_trip_s
        came = rate * now_s
        count = min(window, int(came) - read)
        read += count
        lull.received(count, now_s)
    return read


@pytest.mark.parametrize("window", [10, 20, 32, 100])
def test_a_broker_that_sends_few_without_an_acknowledgement_is_not_held_up_for_long(window: int) -> None:
    rate = window / 0.005
    assert passed(10.0, rate, window, Lull(0.2, many=125)) > 0.8 * 10 * rate


@pytest.mark.parametrize("rate", [10, 50, 100, 400])
def test_devices_as_regular_as_a_clock_are_not_taken_for_such_a_broker(rate: int) -> None:
    lull, reads, now_s, read = Lull(0.2, many=125), 0, 0.0, 0
    while now_s < 60:
        now_s += lull.left_s(now_s) or 0.002
        count = int(rate * now_s) - read
        read += count
        reads += count > 0
        lull.received(count, now_s)
    assert reads < 60 * 7, "five a second, and a few probes"


def test_no_message_no_pause_and_a_small_window_is_never_used_up() -> None:
    lull = Lull(0.2, many=250)
    lull.received(0, 10.0)
    assert lull.left_s(10.0) == 0
    narrow = Lull(0.2, many=0)  # of a Receive Maximum below 8
    narrow.received(1, 10.0)
    assert narrow.left_s(10.0) == 0
    assert Lull(0.0, many=250).left_s(10.0) == 0
