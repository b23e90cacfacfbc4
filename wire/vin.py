"""Vehicle identification numbers: ISO 3779's alphabet, the check digit of 49 CFR 565.15 (c)."""

import re
from typing import Final

_SHAPE: Final = re.compile(r"[0-9A-HJ-NPR-Z]{13}[0-9]{4}")
_VALUES: Final = {
    **{str(digit): digit for digit in range(10)},
    **dict(zip("ABCDEFGH", range(1, 9), strict=True)),
    **dict(zip("JKLMN", range(1, 6), strict=True)),
    **{"P": 7, "R": 9},
    **dict(zip("STUVWXYZ", range(2, 10), strict=True)),
}
_WEIGHTS: Final = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)


def check_digit(vin: str) -> str:
    """The character due at position 9 of a 17-character VIN (position 9 itself has weight 0)."""
    remainder = sum(_VALUES[character] * weight for character, weight in zip(vin, _WEIGHTS, strict=True)) % 11
    return "X" if remainder == 10 else str(remainder)


def fault(vin: str) -> str | None:
    """What is wrong with a VIN, or None. The text never repeats the VIN: it is personal data."""
    if _SHAPE.fullmatch(vin) is None:
        return "not 17 characters of the VIN alphabet ending in 4 digits"
    expected = check_digit(vin)
    return None if vin[8] == expected else f"check digit at position 9 is {vin[8]!r}, expected {expected!r}"
