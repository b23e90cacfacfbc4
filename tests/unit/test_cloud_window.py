"""The sequence window."""

import random

from cloud.window import INTERVALS_MAX, RISING_INTERVALS_MAX, Seen, Window


def test_a_jump_is_a_gap_until_it_is_filled() -> None:
    window = Window()
    assert window.accept(0, 1) == (Seen.NEW, 0)
    assert window.accept(5, 2) == (Seen.NEW, 4)
    assert window.accept(3, 2) == (Seen.NEW, -1)
    assert window.accept(3, 2) == (Seen.DUPLICATE, 0)
    assert window.missing == [(1, 3), (4, 5)]


def test_a_session_that_begins_above_zero_has_lost_its_first_messages() -> None:
    assert Window().accept(3, 1) == (Seen.NEW, 3)


def test_a_window_remembers_exactly_what_a_set_would() -> None:
    chance = random.Random(7)
    window, seen = Window(), set()
    for _ in range(3000):
        seq = chance.randint(0, 200)
        verdict, _ = window.accept(seq, 0)
        assert verdict is (Seen.DUPLICATE if seq in seen else Seen.NEW)
        seen.add(seq)
    assert sum(end - first for first, end in window.missing) == max(seen) + 1 - len(seen)


def test_an_overflowing_window_calls_what_it_forgot_uncertain() -> None:
    """With more pieces missing than it can hold, the oldest is neither new nor seen: it is said to be uncertain."""
    window = Window()
    for seq in range(0, 2 * (INTERVALS_MAX + 2), 2):
        window.accept(seq, 1)
    assert len(window.missing) == INTERVALS_MAX
    assert window.accept(1, 1)[0] is Seen.UNCERTAIN
    assert window.accept(window.floor + 1, 1)[0] is not Seen.UNCERTAIN


def test_one_wide_gap_that_fills_here_and_there_overflows_too() -> None:
    """Every other message of a long loss comes late: the pieces between are as many as in any other overflow."""
    window = Window()
    window.accept(10 * INTERVALS_MAX, 1)
    for seq in range(1, 10 * INTERVALS_MAX, 2):
        assert window.accept(seq, 1) == (Seen.NEW, -1)
        assert len(window.missing) <= INTERVALS_MAX
    assert window.accept(2, 1)[0] is Seen.UNCERTAIN


def test_counting_anew_without_a_new_session_is_uncertain_not_dropped() -> None:
    window = Window()
    for seq in range(5):
        window.accept(seq, 1000 + seq)
    assert window.accept(0, 9000)[0] is Seen.UNCERTAIN
    assert window.accept(0, 1000)[0] is Seen.DUPLICATE


def test_the_agents_own_numbers_know_no_gaps_and_may_come_from_below() -> None:
    """Below a jump lie other assets' messages, or ours that are still in the partition we were in before."""
    window = Window(gapless=False)
    assert window.accept(17, 1) == (Seen.NEW, 0)
    assert window.accept(90, 2) == (Seen.NEW, 0)
    assert window.accept(17, 1) == (Seen.DUPLICATE, 0)
    assert window.accept(50, 9) == (Seen.NEW, 0)
    assert window.accept(50, 9) == (Seen.DUPLICATE, 0)


def test_what_is_far_below_the_agents_newest_number_is_uncertain_never_dropped() -> None:
    window = Window(gapless=False)
    for seq in range(1000, 1000 + 10 * (RISING_INTERVALS_MAX + 5), 10):
        window.accept(seq, 1)
    assert len(window.missing) == RISING_INTERVALS_MAX
    assert window.accept(1000, 1)[0] is window.accept(1001, 1)[0] is Seen.UNCERTAIN
    assert window.accept(window.next - 1, 1)[0] is Seen.DUPLICATE


def test_a_window_survives_the_document() -> None:
    window = Window()
    for seq in (0, 4, 9, 6):
        window.accept(seq, seq)
    assert Window.from_list(window.to_list()) == window
