"""What other systems say about assets and customers: read from records, judged. Pure."""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from cloud.inbox import Record
from wire import codec, topics, vin
from wire.malformed import Malformed, Reason
from wire.messages import Activity, LifecycleStep, Profile, Role, plain, shaped
from wire.records import DeadLetter

TOPICS: Final = frozenset(
    {topics.CUSTOMER_PROFILES, topics.ASSET_ROLES, topics.VEHICLE_LIFECYCLE, topics.CUSTOMER_ACTIVITY}
)

T = TypeVar("T", Profile, Role, LifecycleStep, Activity)


class Step(NamedTuple):
    """A lifecycle step and the record it came in."""

    step: LifecycleStep
    record: Record


@dataclass(slots=True)
class Facts:
    """The facts of one poll. A later profile of a customer replaces an earlier one; None erases. `erased_ms`: when
    those were, but not before the profile that they erase."""

    profiles: dict[str, Profile | None] = field(default_factory=dict)
    erased_ms: dict[str, int] = field(default_factory=dict)
    roles: list[Role] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    activities: list[Activity] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)


def read(records: list[Record]) -> Facts:
    """Sort records of the fact topics into facts; what cannot be used becomes a dead letter."""
    facts = Facts()
    for record in records:
        refused = _take(facts, record)
        if refused is not None:
            facts.dead_letters.append(dead_letter(record, refused))
    return facts


def dead_letter(record: Record, why: Malformed) -> DeadLetter:
    """The dead letter of a whole record."""
    return DeadLetter.of(record.value or b"", why, record.place, record.timestamp_ms, _text(record.key))


def _take(facts: Facts, record: Record) -> Malformed | None:
    if record.topic == topics.CUSTOMER_PROFILES:
        return _take_profile(facts, record)
    if record.topic == topics.ASSET_ROLES:
        role = _keyed(record, Role, "asset_id")
        if isinstance(role, Malformed):
            return role
        if role.to_ms is not None and role.to_ms <= role.from_ms:
            return Malformed(Reason.BAD_PERIOD, f"role {role.role_id}: to_ms is not after from_ms")
        facts.roles.append(role)
        return None
    if record.topic == topics.CUSTOMER_ACTIVITY:
        activity = _keyed(record, Activity, "customer_id")
        if isinstance(activity, Malformed):
            return activity
        facts.activities.append(activity)
        return None
    step = _keyed(record, LifecycleStep, "asset_id")
    if isinstance(step, Malformed):
        return step
    fault = vin.fault(step.attributes.vin) if step.attributes.vin is not None else None
    if fault is not None:
        return Malformed(Reason.BAD_VIN, fault)
    facts.steps.append(Step(step, record))
    return None


def _take_profile(facts: Facts, record: Record) -> Malformed | None:
    if record.value is None:
        customer = _text(record.key)
        held = facts.profiles.get(customer)
        before_ms = max(facts.erased_ms.get(customer, 0), held.updated_ms if held else 0)
        facts.erased_ms[customer] = max(record.timestamp_ms, before_ms)
        facts.profiles[customer] = None
        return None
    profile = _keyed(record, Profile, "customer_id")
    if isinstance(profile, Malformed):
        return profile
    held = facts.profiles.get(profile.customer_id)
    if held is None or held.updated_ms <= profile.updated_ms:
        facts.profiles[profile.customer_id] = profile
    return None


def _keyed(record: Record, shape: type[T], key: str) -> T | Malformed:
    message = shaped(codec.decode(record.value or b""), shape)
    if not isinstance(message, Malformed) and getattr(message, key) != _text(record.key):
        return Malformed(Reason.WRONG_ASSET, f"{key} differs from the record's key")
    return message


def _text(key: bytes) -> str:
    return key.decode("utf-8", "replace")


def step_document(step: LifecycleStep) -> dict[str, Any]:
    """A step as the twin keeps it; `ts` in ms."""
    document: dict[str, Any] = {"step": step.step, "ts": step.ts}
    for name in ("place", "odometer_m", "reference"):
        given = getattr(step, name)
        if given is not None:
            document[name] = given
    attributes = plain(step.attributes)
    if attributes:
        document["attributes"] = attributes
    return document
