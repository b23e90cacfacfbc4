"""The simulated fleet has the mix of a recorded one."""

import csv
from collections import Counter

import numpy as np

from simulator import identity, models
from simulator.models import Powertrain

COUNT = 20_000
KILOGRAMS_PER_POUND = 0.4536


def _rows(data_directory):
    with (data_directory / "ved_static" / "vehicles.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_cars_with_an_engine_are_driven_as_those_of_the_vehicle_energy_dataset(data_directory):
    recorded = Counter(row["Vehicle Type"] for row in _rows(data_directory))
    traits = identity.vehicles(1, COUNT)
    simulated = Counter(Powertrain(identity.vehicle_model(traits, index).powertrain).name for index in range(COUNT))
    with_engine = [name for name in recorded if name != "EV"]
    assert sorted(with_engine) == sorted(name for name in simulated if name != "BEV")
    for name in with_engine:
        share = recorded[name] / sum(recorded[each] for each in with_engine)
        assert abs(simulated[name] / sum(simulated[each] for each in with_engine) - share) < 0.01


def test_masses_lie_in_the_classes_of_the_dataset(data_directory):
    with (data_directory / "ved_static" / "vehicles.csv").open(encoding="utf-8") as file:
        pounds = [
            float(row["Generalized_Weight"]) for row in csv.DictReader(file) if row["Generalized_Weight"].isdigit()
        ]
    lightest, heaviest = (KILOGRAMS_PER_POUND * bound for bound in (min(pounds), max(pounds)))
    assert all(lightest - 50 <= model.mass_kg <= heaviest for model in models.VEHICLES)


def test_there_are_more_new_cars_than_old_ones_and_of_every_year():
    counts = np.bincount(identity.vehicles(1, COUNT).year - identity.YEAR_FIRST)
    assert (np.diff(counts) > 0).all()
    assert counts.min() > 0
