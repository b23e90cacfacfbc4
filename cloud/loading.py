"""Step 3 of the loop: the twins of a turn's assets, from memory, from the database, or new."""

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from cloud import facts, twin
from cloud.cache import Cache
from cloud.inbox import Delivery
from cloud.mongo import Document
from cloud.store import Store
from cloud.turn import Turn
from cloud.twin import Twin
from cloud.upgrades import NewerSchemaError
from wire.malformed import Malformed, Reason

log: Final = structlog.get_logger()

Ask = Callable[[Sequence[str]], list[Document]]


def load(turn: Turn, cache: Cache, store: Store, ask: Ask) -> None:
    """Fill in `turn.twins`; `ask` fetches documents. What cannot be folded into its twin becomes dead letters."""
    wanted = turn.deliveries
    turn.twins = [cached for asset_id in wanted if (cached := cache.take(asset_id)) is not None]
    held = {asset.asset_id for asset in turn.twins}
    absent = [asset_id for asset_id in wanted if asset_id not in held]
    if absent:
        _load_absent(absent, turn, store, ask)
    for asset in turn.twins:
        for delivery in wanted[asset.asset_id]:
            if delivery.kind is not asset.kind:
                _refuse_strangers(asset, turn)
                break


def _load_absent(absent: Sequence[str], turn: Turn, store: Store, ask: Ask) -> None:
    documents = ask(absent)
    loaded = [asset for document in documents if (asset := _revive(document, turn)) is not None]
    known = {document["_id"] for document in documents}
    new = [store.new_twin(one, turn.deliveries[one][0].kind) for one in absent if one not in known]
    turn.unlinked += [document["_id"] for document in documents if document["link"]["revision"] == 0]
    turn.unlinked += [asset.asset_id for asset in new]
    turn.twins += loaded + new


def give_up(deliveries: list[Delivery], why: Malformed, turn: Turn) -> None:
    """What cannot be folded into this asset goes to the dead letters; the others are not held up."""
    log.error("twin not written", asset_id=deliveries[0].asset_id, reason=why.reason, detail=why.detail)
    turn.letters += [(facts.dead_letter(delivery.record, why), delivery.topic) for delivery in deliveries]


def _revive(document: Document, turn: Turn) -> Twin | None:
    try:
        return twin.from_document(document)
    except NewerSchemaError as error:
        give_up(turn.deliveries[document["_id"]], Malformed(Reason.NEWER_SCHEMA, str(error)), turn)
        return None


def _refuse_strangers(asset: Twin, turn: Turn) -> None:
    deliveries = turn.deliveries[asset.asset_id]
    strangers = [delivery for delivery in deliveries if delivery.kind is not asset.kind]
    give_up(strangers, Malformed(Reason.WRONG_ASSET, f"this asset is a {asset.kind}"), turn)
    deliveries[:] = [delivery for delivery in deliveries if delivery.kind is asset.kind]
