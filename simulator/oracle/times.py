"""Times as the database has them, as numbers and as people read them."""

import functools
from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENTS_MAX: Final = 4_096
"""Of a twin most times are the same."""


@functools.lru_cache(_MOMENTS_MAX)
def ms(moment: datetime) -> int:
    """Of a BSON date, which is UTC, said or not."""
    return (moment.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


def said(ts_ms: int) -> str:
    """ISO 8601."""
    return (_EPOCH + timedelta(milliseconds=ts_ms)).isoformat(timespec="milliseconds")
