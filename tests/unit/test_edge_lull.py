"""When reading pauses so that messages come together, and that it never holds a broker up."""

import itertools

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
    assert all(0.03 < gap_s < 0.08 for gap_s in gaps_s), "250 take 50 ms"


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


def test_no_message_no_pause_and_a_small_window_is_never_used_up() -> None:
    lull = Lull(0.2, many=250)
    lull.received(0, 10.0)
    assert lull.left_s(10.0) == 0
    narrow = Lull(0.2, many=0)  # of a Receive Maximum below 8
    narrow.received(1, 10.0)
    assert narrow.left_s(10.0) == 0
    assert Lull(0.0, many=250).left_s(10.0) == 0
