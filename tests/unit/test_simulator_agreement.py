"""Truths that are verified together are of one world, or the oracle says which two are not."""

import pytest

from simulator import agreement
from simulator.errors import UnusableError
from simulator.truth import Truth, TruthWriter


def _truth(directory, command, seed=1, vehicles=200, missed=0.02):
    description = {"command": command, "seed": seed, "vehicles": vehicles, "faults": {"service_missed": missed}}
    with TruthWriter(directory, description):
        return Truth(directory)


@pytest.mark.parametrize("other", [{"missed": 0.05}, {"vehicles": 300}, {"missed": 0.0}])
def test_lives_and_telemetry_that_disagree_about_missed_services_are_refused(tmp_path, other):
    agreed = _truth(tmp_path / "first", "run")
    people, run = _truth(tmp_path / "people", "people"), _truth(tmp_path / "run", "run", **other)
    with pytest.raises(UnusableError, match=r"of seed 1, people of 200 vehicles and faults\.service_missed 0\.02 but"):
        agreement.check([agreed, people, run])


def test_what_does_not_meet_need_not_agree(tmp_path):
    people = _truth(tmp_path / "people", "people")
    agreement.check([people, _truth(tmp_path / "same", "run")])
    agreement.check([people, _truth(tmp_path / "another seed", "run", seed=2, missed=0.5)])
    agreement.check([_truth(tmp_path / "one", "run", vehicles=5), _truth(tmp_path / "two", "run", vehicles=6)])
    nobody = _truth(tmp_path / "nobody", "people", vehicles=9, missed=0.0)
    agreement.check([nobody, _truth(tmp_path / "nobody either", "run", missed=0.0)])
    with TruthWriter(tmp_path / "replay", {"command": "replay"}):
        agreement.check([people, Truth(tmp_path / "replay")])
