"""A question that cannot be asked, as a value: what is wrong and what exists instead."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

_LISTED_MAX: Final = 30
_CLOSEST_MAX: Final = 5


class Fault(NamedTuple):
    """One sentence for the person who asked."""

    text: str


def unknown(option: str, given: str, names: Iterable[str]) -> Fault:
    """`given` is none of `names`, which are listed in their order: all of them, or the closest of many."""
    existing = list(names)
    start = f"{option}: {given!r:.80} is not known; "
    if not existing:
        return Fault(start + "none is known yet")
    if len(existing) <= _LISTED_MAX:
        return Fault(start + "there are: " + ", ".join(existing))
    near = closest(given, {name: name for name in existing})
    listed = "closest: " + ", ".join(near) if near else "for example: " + ", ".join(existing[:_CLOSEST_MAX])
    return Fault(f"{start}{listed} ({len(existing)} in all)")


def closest(given: str, names: Mapping[str, str], count: int = _CLOSEST_MAX) -> Sequence[str]:
    """The values of `names` whose keys are most like `given`, whatever the case; what contains it comes first."""
    folded = given.casefold()
    keys = {key.casefold(): value for key, value in names.items()}
    containing = [value for key, value in keys.items() if folded and folded in key]
    similar = [keys[key] for key in difflib.get_close_matches(folded, keys, n=count, cutoff=0.6)]
    return list(dict.fromkeys(containing + similar))[:count]
