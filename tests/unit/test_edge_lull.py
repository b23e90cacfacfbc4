"""When reading pauses so that messages come together, and that it never holds a broker up."""

from edge.lull import Lull


def test_after_a_few_messages_nothing_is_read_for_the_pause() -> None:
    lull = Lull(0.2, many=250)
    assert lull.left_s(0.0) == 0
    lull.received(1, 10.0)
    assert abs(lull.left_s(10.05) - 0.15) < 1e-9
    assert lull.left_s(10.2) == 0


def test_many_messages_end_the_pauses_also_when_the_next_reads_bring_few() -> None:
    lull = Lull(0.2, many=250)
    lull.received(1, 10.0)
    lull.received(400, 10.2)
    assert lull.left_s(10.2) == 0
    for number in range(100):  # 2,000 a second, a few with each read
        lull.received(6, 10.2 + number * 0.003)
        assert lull.left_s(10.2 + number * 0.003) == 0


def test_pauses_return_after_a_quiet_time() -> None:
    lull = Lull(0.2, many=250)
    lull.received(400, 10.0)
    lull.received(1, 10.7)
    assert lull.left_s(10.7) > 0


def test_no_message_no_pause_and_a_small_window_is_never_used_up() -> None:
    lull = Lull(0.2, many=250)
    lull.received(0, 10.0)
    assert lull.left_s(10.0) == 0
    narrow = Lull(0.2, many=0)  # of a Receive Maximum below 4
    narrow.received(1, 10.0)
    assert narrow.left_s(10.0) == 0
