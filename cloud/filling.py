"""Twins whose next frame will most likely change nothing but numbers: their documents' bytes are kept, and such frames
fill in the blanks (`cloud/plain.py`). Meanwhile the twin itself stands still. Pure but for the twins.

Only twins of forms that many have are worth it: of few frames whole columns cost more than each by itself.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from cloud import encoding
from cloud.changes import Change
from cloud.fold import Outcome
from cloud.forms import Filled, Form, Forms, Sender
from cloud.inbox import Delivery
from cloud.twin import Position, Twin
from wire import catalogue
from wire.frames import Reading
from wire.topics import FLEET_SIGNALS, Channel

_BYTES_MAX: Final = 16_384
"""Larger documents are not kept: a hundred signals take half of it."""
_SIGNALS: Final = str(Channel.SIGNALS)


class Candidate(NamedTuple):
    """A twin that was just written, and because of what."""

    twin: Twin
    deliveries: list[Delivery]
    outcome: Outcome
    change: Change


def fill(several: Iterable[Candidate], forms: Forms, few: int) -> None:
    """Keep the bytes of the documents of those that differ only in numbers from `few` others, or from what is kept."""
    found: dict[Form, list[tuple[Candidate, Sender]]] = defaultdict(list)
    for one in several:
        sender = _sender(one.twin, one.deliveries, one.outcome) if one.change.moving else None
        form = None if sender is None else _form(one, sender, forms)
        if form is not None and sender is not None:
            found[form].append((one, sender))
    for form, those in found.items():
        if form.popular or len(those) >= few:
            form.popular = True
            for one, sender in those:
                _keep(one, sender, form)


def _sender(twin: Twin, deliveries: list[Delivery], outcome: Outcome) -> Sender | None:
    """Who sent the last frame, if there was one frame alone, with all that is known of an asset that is well."""
    if len(deliveries) != 1 or len(outcome.advances) != 1 or outcome.folded != 1 or twin.times:
        return None
    if twin.detectors or twin.findings or twin.closed:
        return None
    (delivery,) = deliveries
    if len(delivery.items) != 1 or delivery.channel is not Channel.SIGNALS or delivery.replay is not None:
        return None
    item, at = delivery.items[0], delivery.position
    if not item.gapless or type(item.content) is not Reading or delivery.gateway != twin.connection.gateway:
        return None
    return at.partition, at.generation, item.session, delivery.gateway


def _form(one: Candidate, sender: Sender, forms: Forms) -> Form | None:
    twin, raw = one.twin, one.change.moving
    if len(raw) > _BYTES_MAX:
        return None
    place = list(twin.positions).index((FLEET_SIGNALS, sender[0]))
    form = forms.of(raw, place, list(twin.windows).index((_SIGNALS, sender[2])))
    if form is None or twin.search is None or bool(form.location) != (twin.search.place is not None):
        return None
    return form


def _keep(one: Candidate, sender: Sender, form: Form) -> None:
    twin, raw, search = one.twin, one.change.moving, one.twin.search
    assert search is not None
    values, copies = twin.values, search.values
    seen = array("d", [*[copies[number] for number in form.searched], *(search.place or ()), search.seen_ms])
    texts = [values[number] for number in form.texts]
    codes = [encoding.as_number(catalogue.BY_NUMBER[number], values[number]) for number in form.texts]
    size_bytes = one.change.size_bytes - len(one.change.fields.raw) + len(raw)
    twin.filled = Filled(form, raw, sender, texts, seen.tobytes(), array("d", codes).tobytes(), size_bytes)
    twin.size_bytes = 0  # to be looked at again


def restore(twin: Twin) -> None:
    """Bring the twin to where its document is, and let the bytes go."""
    filled, twin.filled = twin.filled, None
    assert filled is not None
    numbers = filled.form.read(filled.raw)
    partition, generation, session, _ = filled.sender
    twin.revision, twin.heard = numbers.revision, numbers.heard
    twin.values, twin.inputs = twin.values | numbers.values, None
    twin.moment_ms = twin.newest_ms = numbers.ts_ms
    twin.connection.last_seen_ms = numbers.last_seen_ms
    twin.counters |= {"frames": numbers.frames, "samples": numbers.samples}
    twin.positions[FLEET_SIGNALS, partition] = Position(generation, partition, numbers.offset)
    window = twin.windows[_SIGNALS, session]
    window.next, window.newest_ms = numbers.next, numbers.newest_ms
