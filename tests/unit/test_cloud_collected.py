"""What a twin makes of frames that an edge agent's collection rules reduced, emptied or made."""

from cloud.fold import fold
from cloud.twin import Twin
from cloud.window import RISING_INTERVALS_MAX
from tests.cloud_world import NOW_MS, delivery, frame
from wire import catalogue
from wire.topics import Kind

SPEED = catalogue.BY_PATH["Vehicle.Speed"].number


def twin() -> Twin:
    return Twin("car-1", Kind.VEHICLE)


def test_a_frame_without_signals_counts_as_a_frame_and_leaves_no_gap() -> None:
    heard = twin()
    payloads = [frame(NOW_MS + seq, {"Vehicle.Speed": 3.0} if seq % 3 == 0 else {}, seq=seq) for seq in range(7)]
    fold(heard, [delivery("car-1", payloads)])
    assert heard.counters["frames"] == 7
    assert heard.counters["gaps"] == heard.counters["duplicates"] == heard.counters["rejected"] == 0
    assert heard.signals == {SPEED: (3.0, NOW_MS + 6)}


def test_a_frame_without_signals_sent_again_is_a_duplicate() -> None:
    heard = twin()
    fold(heard, [delivery("car-1", [frame(NOW_MS, {}, seq=0)] * 2)])
    assert (heard.counters["frames"], heard.counters["duplicates"]) == (1, 1)


def test_captured_samples_are_folded_but_are_no_frame_of_the_device() -> None:
    heard = twin()
    captured = frame(NOW_MS, {"Vehicle.Speed": [1.0, 2.0]}, None, None, dt=[0, 10], capture="braking")
    fold(heard, [delivery("car-1", [captured, frame(NOW_MS + 20, {}, seq=0)])])
    assert heard.signals == {SPEED: (2.0, NOW_MS + 10)}
    assert (heard.counters["frames"], heard.counters["samples"], heard.counters["gaps"]) == (1, 2, 0)


def test_urgent_captures_may_overtake_frames_with_lower_spool_numbers() -> None:
    """However many they are: more than a window remembers pieces of what is missing below them."""
    heard, captures = twin(), RISING_INTERVALS_MAX + 5
    urgent = [
        frame(NOW_MS + n, {"Vehicle.Speed": 9.0}, None, None, capture="crash", urgent=True) for n in range(captures)
    ]
    plain = [frame(NOW_MS + 1_000 + at, {"Vehicle.Speed": float(at)}, None, None) for at in (1, 2, 9)]
    ahead = [delivery("car-1", [one], n, first_sequence=500 + 10 * n) for n, one in enumerate(urgent)]
    fold(heard, [*ahead, delivery("car-1", plain, captures, first_sequence=10)])
    assert heard.counters["duplicates"] == heard.counters["uncertain"] == 0
    assert (heard.counters["frames"], heard.counters["samples"]) == (3, 3 + captures)
    assert heard.signals == {SPEED: (9.0, NOW_MS + 1_009)}
