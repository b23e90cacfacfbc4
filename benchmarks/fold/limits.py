"""What the parts can do alone, with the fold's own code: reading and opening records, and writing prepared twins."""

import time
from typing import Final

from cloud import changes, fold, inbox, mongo, schema
from cloud.changes import Change
from cloud.config import ConsumerSettings
from cloud.inbox import Record
from cloud.kafka import Source
from cloud.leaves import Leaves
from cloud.store import Store
from cloud.twin import Twin
from runtime.settings import MongoSettings
from wire import topics

_PATIENCE_S: Final = 60.0


def read(bootstrap_servers: str, group: str, records: int) -> tuple[float, list[list[Record]]]:
    """Consume and open `records` records; seconds from the first to the last, and the batches as they came."""
    settings = ConsumerSettings(bootstrap_servers=bootstrap_servers, group_id=group)
    source = Source(settings, [topics.FLEET_SIGNALS])
    batches: list[list[Record]] = []
    count, began_s, busy_s = 0, 0.0, 0.0
    deadline = time.monotonic() + _PATIENCE_S
    while count < records:
        batch = source.poll()
        if not batch:
            assert time.monotonic() < deadline, f"{count} of {records} records"
            continue
        began_s = began_s or time.monotonic()
        for record in batch:
            inbox.open_record(record)
        busy_s = time.monotonic() - began_s
        batches.append(batch)
        count += len(batch)
    source.close()
    return busy_s, batches


def prepare(batches: list[list[Record]]) -> list[list[Change]]:
    """The operations by which the fold writes what these batches bring, as if nothing was known before."""
    twins: dict[str, Twin] = {}
    leaves = Leaves()
    prepared: list[list[Change]] = []
    for batch in batches:
        touched: dict[str, Twin] = {}
        for record in batch:
            delivery = inbox.open_record(record).delivery
            assert delivery is not None
            asset = twins.setdefault(delivery.asset_id, Twin(delivery.asset_id, delivery.kind, new=True))
            fold.fold(asset, [delivery])
            touched[asset.asset_id] = asset
        prepared.append([changes.of(asset, leaves) for asset in touched.values()])
        for asset in touched.values():
            asset.revision += 1
    return prepared


def open_store(uri: str, database: str) -> Store:
    """A database made ready as the service makes it ready."""
    settings = MongoSettings.model_validate({"uri": uri, "database": database})
    made = Store(mongo.connect(settings), settings, lambda: None)
    schema.ensure(made.database)
    return made


def write(database: Store, prepared: list[list[Change]]) -> float:
    """Write them, one bulk after the other; seconds."""
    began_s = time.monotonic()
    for writes in prepared:
        written = database.write_twins(writes)
        assert not written.behind, written.refused
    return time.monotonic() - began_s
