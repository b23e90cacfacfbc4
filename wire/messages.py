"""The messages of the contract, as types. JSON Schemas are generated from these (`wire.schemas`).

Unknown fields are ignored, so that a newer sender can speak to an older reader. Times are integers,
milliseconds since the Unix epoch, UTC.
"""

import math
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from wire import limits, topics
from wire.malformed import Malformed, Reason

TimeMs = Annotated[int, Meta(ge=limits.TIME_MS_MIN, le=limits.TIME_MS_MAX)]
ClockMs = Annotated[int, Meta(ge=0, le=limits.TIME_MS_MAX)]
"""What a gateway's clock showed: one that was never set shows 1970."""
Sequence = Annotated[int, Meta(ge=0, le=limits.SEQUENCE_MAX)]
Text = Annotated[str, Meta(min_length=1, max_length=limits.TEXT_CHARS_MAX)]
SessionId = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+\Z")]
AssetId = Annotated[str, Meta(pattern=rf"^{topics.ASSET_ID.pattern}\Z")]
CustomerId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")]
Integer = Annotated[int, Meta(ge=-limits.SEQUENCE_MAX, le=limits.SEQUENCE_MAX)]
Name = Annotated[str, Meta(min_length=1, max_length=limits.NAME_CHARS_MAX, pattern=r"^[^\x00$][^\x00]*\Z")]
"""Key of a map. It becomes a field name in MongoDB, which takes no NUL and no `$` in front."""
Dtc = Annotated[str, Meta(pattern=r"^[PCBU][0-3][0-9A-F]{3}(-[0-9A-F]{2})?\Z")]
Scalar = bool | Integer | float | Annotated[str, Meta(max_length=limits.TEXT_CHARS_MAX)]
_SMALL_MAP = Meta(max_length=limits.SIGNALS_PER_FRAME_MAX)
Values = Annotated[dict[Name, Scalar], _SMALL_MAP]
"""Paths to values."""
Version = Literal[1]


class Frame(Struct, frozen=True, omit_defaults=True):
    """Samples of one asset: VSS path or catalogue number → value, taken at `ts`.

    With `dt` (ms after `ts`), every signal holds a list of as many values, null where it has no sample.
    A device that counts nothing leaves out `session` and `seq`; the agent's spool numbers stand in.
    A frame without signals says only that its number was used: an edge agent's rules withheld the samples.
    `capture` names the rule by which an edge agent sends withheld samples after all, in a frame of its own;
    `urgent` ones travel apart from the asset's other frames.
    """

    v: Version
    ts: TimeMs
    signals: Annotated[dict[str | int, Any], _SMALL_MAP]
    session: SessionId | None = None
    seq: Sequence | None = None
    dt: Annotated[list[Integer], Meta(min_length=1, max_length=limits.SAMPLES_PER_FRAME_MAX)] | None = None
    capture: Text | None = None
    urgent: bool = False


class ConnectionState(Struct, frozen=True, omit_defaults=True):
    """Retained birth (`online`) or last will of a device. A will cannot know its time and has no `ts`."""

    v: Version
    online: bool
    session: SessionId
    ts: TimeMs | None = None
    catalog: Text | None = None
    software: Text | None = None


class DtcStatus(Struct, frozen=True, rename="camel"):
    """Status bits of a trouble code, by the names of SOVD (ISO 17978)."""

    test_failed: bool = False
    pending_dtc: bool = False
    confirmed_dtc: bool = False
    warning_indicator_requested: bool = False


class Event(Struct, frozen=True, omit_defaults=True, tag_field="type", kw_only=True):
    """What every event has."""

    v: Version
    ts: TimeMs
    session: SessionId | None = None
    seq: Sequence | None = None


class DtcEvent(Event, frozen=True, omit_defaults=True, tag="dtc", kw_only=True):
    """A trouble code changed; `freeze_frame` maps paths to their values at that moment."""

    code: Dtc
    status: DtcStatus
    freeze_frame: Values = {}


class ChargingEvent(Event, frozen=True, omit_defaults=True, tag="charging_session", kw_only=True):
    """One step of a charging session, after OCPP's TransactionEvent; `meter_values` by OCPP measurand."""

    phase: Literal["Started", "Updated", "Ended"]
    transaction_id: Text
    evse_id: Text | None = None
    vehicle_id: Text | None = None
    meter_values: Annotated[dict[Name, float], _SMALL_MAP] = {}
    stopped_reason: Text | None = None


class NotifyEvent(Event, frozen=True, omit_defaults=True, tag="notify_event", kw_only=True):
    """A monitored variable of a station, after OCPP 2.0.1's NotifyEvent; `tech_code` is a ChargeX MREC name."""

    component: Text
    variable: Text
    trigger: Literal["Alerting", "Delta", "Periodic"]
    actual_value: Scalar
    tech_code: Text | None = None
    tech_info: Text | None = None
    cause: Integer | None = None
    cleared: bool = False


class TripEvent(Event, frozen=True, omit_defaults=True, tag="trip", kw_only=True):
    """A finished trip."""

    trip_id: Text
    started_ms: TimeMs
    ended_ms: TimeMs
    distance_m: Annotated[float, Meta(ge=0)]
    energy_wh: float | None = None
    fuel_l: Annotated[float, Meta(ge=0)] | None = None


AnyEvent = DtcEvent | ChargingEvent | NotifyEvent | TripEvent


Payload = Annotated[bytes, Meta(description="msgpack `bin`; base64 where a batch is shown as JSON")]
_BATCH_LIST = Meta(min_length=1, max_length=limits.BATCH_FRAMES_MAX)


Replay = Literal["messages", "values"]


class Batch(Struct, frozen=True, omit_defaults=True):
    """The value of a record on `fleet.*`: payloads of one asset and channel as the device sent them.

    `sequence_offsets` (spool sequence − `first_sequence`), `received_ms` and `payloads` have equal length.
    `epoch` names the agent's spool, or a stream of it: (gateway, epoch, spool sequence) never names two different
    payloads, and within an epoch the sequences of an asset and channel rise.
    `replay`: it comes from the dead letters. `messages` were never counted; `values` were
    counted, but not all that they say could be kept then.
    """

    v: Version
    kind: topics.Kind
    asset_id: AssetId
    channel: topics.Channel
    gateway: Text
    epoch: Text
    first_sequence: Sequence
    sequence_offsets: Annotated[list[Sequence], _BATCH_LIST]
    received_ms: Annotated[list[ClockMs], _BATCH_LIST]
    payloads: Annotated[list[Payload], _BATCH_LIST]
    replay: Replay | None = None


class Profile(Struct, frozen=True, omit_defaults=True):
    """A customer, on a compacted topic keyed by `customer_id`; a null value erases. Newest `updated_ms` wins."""

    v: Version
    customer_id: CustomerId
    display_name: Text
    updated_ms: TimeMs
    email: Text | None = None
    phone: Text | None = None
    street: Text | None = None
    postal_code: Text | None = None
    city: Text | None = None
    country: Text | None = None
    language: Text | None = None
    consents: Annotated[dict[Name, bool], _SMALL_MAP] = {}


class Role(Struct, frozen=True, omit_defaults=True):
    """Who holds an asset in which role from when to when (`to_ms` null: still). Newest `recorded_ms` per
    `role_id` wins; `retracted` takes a wrong record back."""

    v: Version
    role_id: Text
    asset_id: AssetId
    customer_id: CustomerId
    role: Literal["owner", "driver", "lessee", "fleet_manager", "operator"]
    from_ms: TimeMs
    recorded_ms: TimeMs
    to_ms: TimeMs | None = None
    retracted: bool = False


class Attributes(Struct, frozen=True, omit_defaults=True):
    """What does not change by itself. Only given attributes count."""

    vin: Text | None = None
    brand: Text | None = None
    model: Text | None = None
    variant: Text | None = None
    year: Annotated[int, Meta(ge=1880, le=2200)] | None = None
    plate: Text | None = None
    color: Text | None = None
    powertrain: Text | None = None
    serial_number: Text | None = None
    evse_id: Text | None = None
    site: Text | None = None
    power_kw_max: Annotated[float, Meta(ge=0)] | None = None
    placard_pressure_kpa: Annotated[float, Meta(gt=0)] | None = None
    battery_capacity_kwh: Annotated[float, Meta(gt=0)] | None = None


class LifecycleStep(Struct, frozen=True, omit_defaults=True):
    """A step in an asset's life, from order to scrap. (asset_id, step, ts) names it.

    `body_built`, `painted`, `assembled` and `tested` are stations of production; `built` ends it. `reference` is
    whatever number the sender knows it by: an order, a work order, a recall campaign.
    """

    v: Version
    asset_id: AssetId
    kind: topics.Kind
    step: Literal[
        "ordered", "body_built", "painted", "assembled", "tested", "built",
        "shipped", "delivered", "sold", "installed", "commissioned",
        "serviced", "recalled", "resold", "scrapped",
    ]  # fmt: skip
    ts: TimeMs
    attributes: Attributes = Attributes()
    place: Text | None = None
    odometer_m: Sequence | None = None
    reference: Text | None = None


class Activity(Struct, frozen=True, omit_defaults=True):
    """Something a customer did, on a topic keyed by `customer_id`; `activity_id` never names two.

    `asset_id` is the car it was about, `reference` the number the sender knows it by. `amount` has the currency's
    main unit, `currency` is ISO 4217.
    """

    v: Version
    activity_id: Text
    customer_id: CustomerId
    ts: TimeMs
    type: Literal["browsed", "booked", "complained", "purchased", "moved", "consent_changed"]
    via: Literal["web", "app", "phone", "dealer"]
    asset_id: AssetId | None = None
    subject: Text | None = None
    reference: Text | None = None
    amount: Annotated[float, Meta(ge=0)] | None = None
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")] | None = None
    consents: Annotated[dict[Name, bool], _SMALL_MAP] = {}


class Anomaly(Struct, frozen=True, omit_defaults=True):
    """A finding as it stands now, on a topic keyed by `asset_id`; the last record of an `anomaly_id` holds.

    `subject` is what the detector looked at (a signal, a wheel, a trouble code); `evidence` maps the paths it
    read to their values.
    """

    v: Version
    anomaly_id: Text
    asset_id: AssetId
    kind: topics.Kind
    detector: Text
    subject: Text
    severity: Literal["watch", "service", "critical"]
    status: Literal["open", "acknowledged", "resolved"]
    opened_ms: TimeMs
    last_ms: TimeMs
    summary: Text
    advice: Text
    resolved_ms: TimeMs | None = None
    evidence: Values = {}


T = TypeVar("T")


def shaped(value: object, shape: type[T]) -> T | Malformed:
    """Check decoded values against a message type; `Malformed` passes through."""
    if isinstance(value, Malformed):
        return value
    try:
        message = msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        at_time = str(error).endswith("`$.ts`")
        return Malformed(Reason.BAD_TIME if at_time else Reason.WRONG_SHAPE, str(error)[:300])
    if shape is not Frame and _has_non_finite(value):  # a frame's values are judged one by one
        return Malformed(Reason.WRONG_SHAPE, "a number is NaN or infinite")
    return message


def _has_non_finite(value: object) -> bool:
    """What the types above cannot say; integers and names they bound to what a database keeps."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_non_finite, value.values()))
    return isinstance(value, list) and any(map(_has_non_finite, value))


def plain(message: Struct) -> dict[str, Any]:
    """A message as plain values for a codec; the inverse of `shaped`."""
    values: dict[str, Any] = msgspec.to_builtins(message, builtin_types=(bytes,), str_keys=False)
    return values
