"""Bad input as a value: what is wrong, in a code for counting and a sentence for people."""

from enum import StrEnum
from typing import NamedTuple


class Reason(StrEnum):
    """Why input was refused. The values are stable: they label metrics and dead letters."""

    BAD_TOPIC = "bad_topic"
    BAD_ASSET_ID = "bad_asset_id"
    TOO_LARGE = "too_large"
    NOT_DECODABLE = "not_decodable"
    WRONG_SHAPE = "wrong_shape"
    BAD_TIME = "bad_time"
    CLOCK_AHEAD = "clock_ahead"
    UNKNOWN_SIGNAL = "unknown_signal"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    WRONG_ASSET = "wrong_asset"
    REJECTED_SAMPLES = "rejected_samples"
    BAD_VIN = "bad_vin"
    BAD_PERIOD = "bad_period"
    NEWER_SCHEMA = "newer_schema"
    REFUSED_BY_DATABASE = "refused_by_database"
    REFUSED_BY_KAFKA = "refused_by_kafka"
    EVICTED = "evicted"
    EXPIRED = "expired"
    CORRUPT = "corrupt"


class Malformed(NamedTuple):
    """A message, or a part of one, that cannot be used."""

    reason: Reason
    detail: str
