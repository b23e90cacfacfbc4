"""Customers, owners and lives linked to twins, whatever comes first; what is wrong about them becomes a dead letter."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from cloud.erasure import Erasures
from cloud.facts import read
from cloud.inbox import Record
from cloud.linker import Linker
from tests.cloud_story import BOOKED, BUILT, PROFILE, ROLE, VIN, booked, facts, hot
from tests.cloud_worker import World, fact
from tests.cloud_world import NOW_MS, record


@pytest.mark.parametrize("order", list(itertools.permutations(["profile", "role", "step", "telemetry"])))
def test_facts_in_any_order_link_the_same_twin(world: World, order: Sequence[str]) -> None:
    known = facts()
    world.fold(*[[known[name]] for name in order])
    twin = world.twin()
    assert (twin["owner"]["customer_id"], twin["owner"]["display_name"]) == ("c1", "Ada Lovelace")
    assert twin["attributes"] == {"vin": VIN, "model": "Wren"}
    assert twin["lifecycle"]["state"] == "built"
    assert twin["counters"]["frames"] == 1


def test_an_owner_who_was_known_before_the_first_frame_is_shown_with_it(world: World) -> None:
    """Though nothing more is said of either; also when the worker died after it wrote the twin."""
    known = facts()
    world.fold([known["profile"], known["role"]], [known["telemetry"]])
    owner = world.twin()["owner"]
    assert owner["customer_id"] == "c1"
    unlinked: dict[str, Any] = {"$set": {"link.revision": 0}, "$unset": {"owner": 1}}
    world.store.database["twins"].update_one({"_id": "a"}, unlinked)
    world.fold([record("a", hot(1, 1), 1)])
    assert world.twin()["owner"] == owner


def test_what_a_customer_did_is_kept_once(world: World) -> None:
    world.fold([booked()], [booked(), booked(1)])
    (kept,) = world.all("activities")
    assert (kept["_id"], kept["customer_id"], kept["type"], kept["asset_id"]) == ("b1", "c1", "booked", "a")


def test_an_erased_customer_leaves_no_name_behind(world: World) -> None:
    world.fold([*facts().values(), booked()])
    assert len(world.all("activities")) == 1
    world.fold([fact("customer.profiles.v1", "c1", None, 1)])
    assert world.all("customers") == world.all("activities") == []
    assert world.twin()["owner"]["display_name"] is None


def did(activity_id: str, ts: int) -> Record:
    return fact("customer.activity.v1", "c1", BOOKED | {"activity_id": activity_id, "ts": ts}, 5)


def profile(updated_ms: int) -> Record:
    return fact("customer.profiles.v1", "c1", PROFILE | {"updated_ms": updated_ms}, 5)


def erased(at_ms: int = NOW_MS) -> Record:
    return replace(fact("customer.profiles.v1", "c1", None, 5), timestamp_ms=at_ms)


def customer(world: World) -> tuple[list[int], list[str]]:
    """When the profile was updated, and what is known of what the customer did."""
    profiles = [int(one["updated"]) - NOW_MS for one in world.all("customers")]
    return profiles, [one["_id"] for one in world.all("activities")]


LATE = (profile(NOW_MS - 5), did("b1", NOW_MS - 3), did("b2", NOW_MS + 3))


@pytest.mark.parametrize("cut", range(4))
def test_an_erased_customer_stays_erased_whatever_comes_late_or_again(world: World, cut: int) -> None:
    """In the same poll, before it and after it. What is dated later does not bring somebody back."""
    world.fold([*LATE[:cut], erased(), *LATE[cut:]], [*LATE], [erased()], [*LATE])
    assert customer(world) == ([], [])
    (known,) = world.all("erasures")
    assert set(known) == {"_id", "erased"}
    assert "c1" not in known["_id"]
    assert int(known["erased"]) == NOW_MS


def test_an_erasure_counts_though_the_profiles_clock_was_ahead(world: World) -> None:
    world.fold([profile(NOW_MS + 50)], [erased()], [profile(NOW_MS + 50)])
    world.fold([profile(NOW_MS + 60), erased()], [profile(NOW_MS + 60)])
    assert customer(world) == ([], [])


@pytest.mark.parametrize("again", [[], [erased()], [erased(), profile(NOW_MS + 9)]], ids=["", "erased", "both"])
def test_who_comes_back_after_an_erasure_is_known_from_then_on(world: World, again: list[Record]) -> None:
    """Also when the erasure is read again afterwards, and when all of it came in one poll."""
    world.fold([*LATE, erased(), profile(NOW_MS + 9), did("b3", NOW_MS + 10)], [*LATE], again)
    assert customer(world) == ([9], ["b2", "b3"])


class Slow(Erasures):
    """Another worker's, which is held up after it has written, before it looks."""

    def __init__(self, world: World, meanwhile: Sequence[Record]) -> None:
        super().__init__(world.store)
        self._world, self._meanwhile = world, meanwhile

    def enforce(self, customers: Iterable[str]) -> None:
        self._world.fold(self._meanwhile)
        super().enforce(customers)


@pytest.mark.parametrize(("first", "meanwhile"), [(LATE, [erased()]), ([erased(NOW_MS + 4)], LATE)])
def test_an_erasure_meets_what_another_worker_writes_meanwhile(
    world: World, first: Sequence[Record], meanwhile: Sequence[Record]
) -> None:
    linker = Linker(world.store, lambda: NOW_MS)
    linker.erasures = Slow(world, meanwhile)
    linker.apply(read([*first]))
    assert customer(world) == ([], [])


def test_the_owner_changes_when_the_clock_says_so(world: World) -> None:
    later = ROLE | {"role_id": "r2", "customer_id": "c2", "from_ms": NOW_MS + 60_000}
    ended = ROLE | {"to_ms": NOW_MS + 60_000, "recorded_ms": NOW_MS + 1}
    known = facts()
    changes = [fact("asset.roles.v1", "a", later, 1), fact("asset.roles.v1", "a", ended, 2)]
    world.fold([known["telemetry"], known["role"], *changes])
    assert world.twin()["owner"]["customer_id"] == "c1"
    sweeper = Linker(world.store, lambda: world.now_ms)
    sweeper.sweep()
    world.now_ms = NOW_MS + 61_000
    assert sweeper.sweep() == 1
    assert world.twin()["owner"]["customer_id"] == "c2"


def test_overlapping_owners_are_shown_as_overlapping(world: World) -> None:
    other = ROLE | {"role_id": "r2", "customer_id": "c2", "from_ms": NOW_MS - 1000}
    world.fold([facts()["telemetry"], facts()["role"], fact("asset.roles.v1", "a", other, 1)])
    assert world.twin()["owner"]["customer_id"] == "c2"
    assert world.twin()["owner"]["overlaps"] == 1


BAD_FACTS: list[tuple[str, str, dict[str, Any], bytes]] = [
    ("vehicle.lifecycle.v1", "a", BUILT | {"attributes": {"vin": "1M8GDM9A1KP042788"}}, b"bad_vin"),
    ("asset.roles.v1", "a", ROLE | {"to_ms": NOW_MS - 10_000}, b"bad_period"),
    ("asset.roles.v1", "b", ROLE, b"wrong_asset"),
    ("customer.profiles.v1", "c1", {"customer_id": "c1"}, b"wrong_shape"),
    ("customer.profiles.v1", "c1", PROFILE | {"updated_ms": -4}, b"wrong_shape"),
    ("customer.activity.v1", "c2", BOOKED, b"wrong_asset"),
    ("customer.activity.v1", "c1", BOOKED | {"type": "stared"}, b"wrong_shape"),
]


@pytest.mark.parametrize(("topic", "key", "value", "reason"), BAD_FACTS)
def test_a_bad_fact_becomes_a_dead_letter_and_the_next_is_applied(
    world: World, topic: str, key: str, value: dict[str, Any], reason: bytes
) -> None:
    world.fold([facts()["telemetry"], fact(topic, key, value, 7), facts()["step"]])
    (letter,) = [one for one in world.drawer.records if one.topic.endswith(".dlq")]
    assert letter.topic == f"{topic}.dlq"
    assert dict(letter.headers)["dlq_reason"] == reason
    assert dict(letter.headers)["dlq_origin"] == f"{topic}/0/7".encode()
    assert world.twin()["attributes"]["vin"] == VIN


def test_a_vin_belongs_to_one_asset_only(world: World) -> None:
    thief = fact("vehicle.lifecycle.v1", "b", BUILT | {"asset_id": "b"}, 1)
    world.fold([facts()["step"], record("b", hot(1))], [thief], [record("b", hot(1, 1), 1)])
    assert "vin" not in world.twin("b").get("attributes", {})
    assert world.twin("b")["counters"]["frames"] == 2
    (letter,) = [one for one in world.drawer.records if one.topic.endswith(".dlq")]
    assert VIN.encode() not in b"".join(value for _, value in letter.headers)
