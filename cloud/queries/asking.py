"""What was asked for, and what the database has under the names that were given."""

from typing import Final, NamedTuple

CUSTOMERS_MAX: Final = 1_000
"""Most customers that one `--owner` may name."""

PLATES_MAX: Final = 100
"""Most assets that one plate may name."""


class Options(NamedTuple):
    """The options of `twins find`, as they were typed."""

    kind: str | None = None
    model: str | None = None
    brand: str | None = None
    year: str | None = None
    owner: str | None = None
    vin: str | None = None
    plate: str | None = None
    health: tuple[str, ...] = ()
    finding: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    near: str | None = None
    within_km: float | None = None
    silent_for: str | None = None
    state: str | None = None
    sort: str | None = None


class Known(NamedTuple):
    """Looked up beforehand, and only for options that were given.

    Such look-ups have collations of their own, and a query can have only one. So the query itself compares keys,
    and every filter keeps its index in any company.
    """

    models: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    customer_ids: tuple[str, ...] = ()
    """Whom `--owner` names: more than `CUSTOMERS_MAX` are too many."""
    similar_customers: tuple[str, ...] = ()
    """Names to offer where `--owner` names nobody."""
    plate_assets: tuple[str, ...] = ()
    """Assets with the plate: more than `PLATES_MAX` are too many."""
