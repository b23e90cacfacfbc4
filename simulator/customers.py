"""Invented people and companies. Same seed and number: same customer. Phone numbers are of a block kept for fiction
(Bundesnetzagentur, +49 30 23125), mail addresses of a domain kept for examples (RFC 2606)."""

import hashlib
from typing import Final, TypeVar

import numpy as np

from simulator.arrays import stream
from wire.messages import Profile

_FIRST: Final = (
    "Ada", "Bela", "Chiara", "David", "Elif", "Finn", "Greta", "Hugo", "Ida", "Jonas", "Klara", "Leo", "Mara", "Nils",
    "Olga", "Paul", "Rana", "Sven", "Tara", "Uwe", "Vera", "Wim", "Yusuf", "Zoe",
)  # fmt: skip
_LAST: Final = (
    "Adler", "Bergmann", "Celik", "Dietrich", "Ebner", "Falk", "Graf", "Huber", "Ilic", "Jansen", "Kaya", "Lindner",
    "Moser", "Nowak", "Oswald", "Pichler", "Reiter", "Sommer", "Thaler", "Ulrich", "Vogt", "Wagner", "Yilmaz", "Zeller",
)  # fmt: skip
_COMPANIES: Final = ("Isar Logistik", "Alpen Pflegedienst", "Nordring Leasing", "Stadtbau", "Grünkurier", "Messwerk")
_STREETS: Final = ("Lindenstraße", "Am Bach", "Ringweg", "Schulgasse", "Parkallee", "Mühlweg", "Feldstraße")
_CITIES: Final = (("80331", "München"), ("85748", "Garching"), ("82110", "Germering"), ("85221", "Dachau"))
_LANGUAGES: Final = ("de", "de", "de", "en", "tr")
T = TypeVar("T")

OPERATOR: Final = "cust-ladenetz"
"""Who operates the charging stations."""


def person_id(seed: int, number: int) -> str:
    return f"cust-{_digest(seed, 'person', number)}"


def company_id(seed: int, number: int) -> str:
    return f"cust-{_digest(seed, 'company', number)}"


def person(seed: int, number: int, updated_ms: int, moved: bool = False, withdrawn: bool = False) -> Profile:
    """A private customer; one who `moved` has another address, one who has `withdrawn` consents to nothing."""
    random = stream(seed, f"person {number}")
    first, last = _pick(_FIRST, random), _pick(_LAST, random)
    house, city, language = int(random.integers(1, 120)), _pick(_CITIES, random), _pick(_LANGUAGES, random)
    street, marketing, phone = _pick(_STREETS, random), bool(random.random() < 0.55), int(random.integers(0, 1_000))
    contact = bool(random.random() < 0.85)
    if moved:
        street, city, house = _pick(_STREETS, random), _pick(_CITIES, random), int(random.integers(1, 120))
    return Profile(
        v=1,
        customer_id=person_id(seed, number),
        display_name=f"{first} {last}",
        updated_ms=updated_ms,
        email=f"{first}.{last}.{number}@example.org".lower(),
        phone=f"+49 30 23125 {phone:03d}",
        street=f"{street} {house}",
        postal_code=city[0],
        city=city[1],
        country="DE",
        language=language,
        consents={"aftersales_contact": contact and not withdrawn, "marketing": marketing and not withdrawn},
    )


def company(seed: int, number: int, updated_ms: int) -> Profile:
    """A customer with several cars."""
    name = _COMPANIES[number % len(_COMPANIES)]
    return Profile(
        v=1,
        customer_id=company_id(seed, number),
        display_name=f"{name} {number // len(_COMPANIES) + 1} GmbH",
        updated_ms=updated_ms,
        email=f"fuhrpark.{number}@example.org",
        city="München",
        country="DE",
        language="de",
        consents={"aftersales_contact": True, "marketing": False},
    )


def operator(updated_ms: int) -> Profile:
    """The operator of every charging station."""
    return Profile(
        v=1,
        customer_id=OPERATOR,
        display_name="Ladenetz Süd GmbH",
        updated_ms=updated_ms,
        email="betrieb@example.org",
        city="München",
        country="DE",
        language="de",
        consents={"aftersales_contact": True},
    )


def _pick(options: tuple[T, ...], random: np.random.Generator) -> T:
    return options[int(random.integers(0, len(options)))]


def _digest(seed: int, purpose: str, number: int) -> str:
    return hashlib.blake2b(f"{seed}/{purpose}/{number}".encode(), digest_size=5).hexdigest()
