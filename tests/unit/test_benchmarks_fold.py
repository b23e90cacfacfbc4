"""What the fold's benchmark reads from the samples of a run."""

from benchmarks.fold import service
from benchmarks.fold.service import Sample


def sample(at_s: float, *folded: float) -> Sample:
    return Sample(at_s, {"messages_folded_total": sum(folded)}, 0.0, {}, 0, folded, True)


def test_what_is_measured_ends_when_the_first_worker_has_nothing_left() -> None:
    samples = [sample(0, 5, 5), sample(1, 15, 15), sample(2, 25, 20), sample(3, 35, 20), sample(4, 45, 20)]
    assert service.while_all_work(samples).at_s == 2


def test_a_worker_that_is_alone_is_measured_to_its_end() -> None:
    assert service.while_all_work([sample(0, 5), sample(1, 15), sample(2, 25), sample(3, 25)]).at_s == 2


def test_a_worker_that_has_nothing_to_do_from_the_start_leaves_nothing_to_measure() -> None:
    assert service.while_all_work([sample(0, 5, 5), sample(1, 15, 5), sample(2, 25, 5)]).at_s == 0
