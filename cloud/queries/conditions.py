"""One option each → a MongoDB condition, or what is wrong with the option. Pure."""

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, get_args

from cloud import search
from cloud.queries import parsing
from cloud.queries.asking import CUSTOMERS_MAX, PLATES_MAX, Known, Options
from cloud.queries.faults import Fault, unknown
from cloud.queries.parsing import Point
from cloud.validators import STATUSES
from wire.messages import LifecycleStep
from wire.topics import Kind

Condition = dict[str, Any]
Reader = Callable[[Options, Known], Condition | Fault | None]

EARTH_RADIUS_M: Final = 6_378_100.0
"""The radius that MongoDB computes distances with."""

WITHIN_KM_DEFAULT: Final = 50.0
STEPS: Final[tuple[str, ...]] = get_args(LifecycleStep.__annotations__["step"])

_WITHIN_KM_MAX: Final = 20_015.0  # half around the Earth
_VIN_LENGTH: Final = 17
_VIN: Final = re.compile(rf"[0-9A-HJ-NPR-Z]{{3,{_VIN_LENGTH}}}")

LAST: Final = "\uffff"
"""Sorts after what a name or a VIN is made of: a prefix is the range from itself to itself and this."""

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
"""`last_seen` of an asset that was never heard of."""


def read(options: Options, known: Known, now: datetime) -> list[Condition | Fault]:
    """What each given option asks for, but for signals and places."""
    answers = [reader(options, known) for reader in _READERS] + [_silence(options, now)]
    return [answer for answer in answers if answer is not None]


def prefix(field: str, text: str) -> Condition:
    """`field` begins with `text`: a range, so that no text can be a pattern."""
    return {field: {"$gte": text, "$lt": text + LAST}}


def circle(point: Point, within_km: float) -> Condition:
    """Within a radius, in any order: the index of coarse places finds those that may be, the location decides."""
    within_m = within_km * 1_000
    return {
        search.PLACE: _within(point, within_m + search.PLACE_STEP_M_MAX),
        "location": _within(point, within_m),
    }


def _within(point: Point, metres: float) -> Condition:
    return {"$geoWithin": {"$centerSphere": [[point.longitude, point.latitude], metres / EARTH_RADIUS_M]}}


def distance(point: Point) -> Condition:
    """The distance of a twin's location in radians (haversine), as an expression."""
    longitude, latitude = (
        {"$degreesToRadians": {"$arrayElemAt": ["$location.coordinates", place]}} for place in (0, 1)
    )
    here_longitude, here_latitude = math.radians(point.longitude), math.radians(point.latitude)
    sines = [_squared_sine(latitude, here_latitude), _squared_sine(longitude, here_longitude)]
    chord = {"$add": [sines[0], {"$multiply": [{"$cos": latitude}, math.cos(here_latitude), sines[1]]}]}
    return {"$multiply": [2, {"$asin": {"$min": [1, {"$sqrt": chord}]}}]}


def _squared_sine(angle: Condition, other: float) -> Condition:
    return {"$pow": [{"$sin": {"$divide": [{"$subtract": [angle, other]}, 2]}}, 2]}


def place(options: Options) -> tuple[Point, float] | Fault | None:
    """The point and radius of `--near` and `--within-km`."""
    if options.near is None:
        return Fault("--within-km needs --near LATITUDE,LONGITUDE") if options.within_km is not None else None
    point = parsing.point(options.near)
    if isinstance(point, Fault):
        return Fault(f"--near: {point.text}")
    within_km = WITHIN_KM_DEFAULT if options.within_km is None else options.within_km
    if not 0 < within_km <= _WITHIN_KM_MAX:
        return Fault(f"--within-km: {within_km:g} is not within 0..{_WITHIN_KM_MAX:g}")
    return point, within_km


def _kind(options: Options, _known: Known) -> Condition | Fault | None:
    if options.kind is None:
        return None
    if options.kind not in Kind.__members__.values():
        return unknown("--kind", options.kind, Kind)
    return {"kind": options.kind}


def _model(options: Options, known: Known) -> Condition | Fault | None:
    return _spelled("--model", "attributes.model", options.model, known.models)


def _brand(options: Options, known: Known) -> Condition | Fault | None:
    return _spelled("--brand", "attributes.brand", options.brand, known.brands)


def _spelled(option: str, field: str, given: str | None, names: Iterable[str]) -> Condition | Fault | None:
    if given is None:
        return None
    spellings = [name for name in names if name.casefold() == given.strip().casefold()]
    return {field: {"$in": spellings}} if spellings else unknown(option, given, names)


def _year(options: Options, _known: Known) -> Condition | Fault | None:
    if options.year is None:
        return None
    comparison = parsing.year(options.year)
    return Fault(f"--year: {comparison.text}") if isinstance(comparison, Fault) else {"attributes.year": comparison}


def _owner(options: Options, known: Known) -> Condition | Fault | None:
    if options.owner is None:
        return None
    if len(known.customer_ids) > CUSTOMERS_MAX:
        return Fault(
            f"--owner: more than {CUSTOMERS_MAX} names begin with {options.owner!r:.80}; write more of the name"
        )
    if not known.customer_ids:
        start = f"--owner: no customer id is {options.owner!r:.80} and no name begins so"
        return Fault(f"{start}; similar: {', '.join(known.similar_customers)}" if known.similar_customers else start)
    return {"owner.customer_id": {"$in": list(known.customer_ids)}}


def _vin(options: Options, _known: Known) -> Condition | Fault | None:
    if options.vin is None:
        return None
    vin = normal_vin(options.vin)
    if _VIN.fullmatch(vin) is None:
        return Fault("--vin: 3 to 17 letters and digits are due, without I, O and Q")
    return {"attributes.vin": {"$eq": vin}} if len(vin) == _VIN_LENGTH else prefix("attributes.vin", vin)


def normal_vin(text: str) -> str:
    """A VIN as it is stored: upper case, without what people put between the parts."""
    return re.sub(r"[\s-]", "", text).upper()


def _plate(options: Options, known: Known) -> Condition | Fault | None:
    if options.plate is None:
        return None
    if not any(character.isalnum() for character in options.plate):
        return Fault("--plate: letters or digits are due")
    if len(known.plate_assets) > PLATES_MAX:
        return Fault(f"--plate: more than {PLATES_MAX} assets have this plate")
    return {"_id": {"$in": list(known.plate_assets)}}


def _health(options: Options, _known: Known) -> Condition | Fault | None:
    if not options.health:
        return None
    wanted = parsing.levels("--health", options.health, STATUSES)
    return wanted if isinstance(wanted, Fault) else {"health.status": {"$in": wanted}}


def _finding(options: Options, known: Known) -> Condition | Fault | None:
    wanted = [detector(given) for given in options.finding]
    for given in wanted:
        if given not in known.detectors:
            return unknown("--finding", given, known.detectors)
    return {"health.open.detector": {"$in": wanted}} if wanted else None


def detector(text: str) -> str:
    """A detector's name as tables show it (`low voltage battery`) or as it is."""
    return re.sub(r"[\s-]+", "_", text.strip().casefold())


def _state(options: Options, _known: Known) -> Condition | Fault | None:
    if options.state is None:
        return None
    if options.state not in STEPS:
        return unknown("--state", options.state, STEPS)
    return {"lifecycle.state": options.state}


def _silence(options: Options, now: datetime) -> Condition | Fault | None:
    if options.silent_for is None:
        return None
    silence = parsing.duration(options.silent_for)
    if isinstance(silence, Fault):
        return Fault(f"--silent-for: {silence.text}")
    return {search.SEEN: {"$lt": now - silence}, "connection.last_seen": {"$gt": _EPOCH, "$lt": now - silence}}


_READERS: Final[tuple[Reader, ...]] = (_kind, _model, _brand, _year, _owner, _vin, _plate, _health, _finding, _state)
