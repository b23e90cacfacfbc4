"""Whether a rebuild may begin, and where in the log: or why not, and what is possible instead."""

from datetime import UTC, datetime

from cloud import handover
from cloud.replay import Offsets, Replay
from cloud.store import Store
from cloud.upgrades import SCHEMA_VERSION


class RefusedError(Exception):
    """What was asked for cannot be right, or a worker does not answer; nothing has changed."""


def check_versions(live: Store) -> None:
    """Raises RefusedError when there are twins of a version that this one does not know."""
    newer = live.database[handover.TWINS].find_one({"schema_version": {"$gt": SCHEMA_VERSION}}, {"_id": 1})
    if newer is not None:
        raise RefusedError(f"twins such as {newer['_id']} were written by a newer version: rebuild with that one")


def offsets(replay: Replay, group_id: str, since_ms: int | None) -> Offsets:
    """Where to begin in each partition. Raises RefusedError, and the errors of Kafka."""
    oldest, committed = replay.oldest(), replay.committed()
    if not committed:
        raise RefusedError(f"the group {group_id} has folded nothing yet: nothing to rebuild")
    cut = {place: offset for place, offset in oldest.items() if offset > 0}
    if since_ms is None:
        if cut:
            raise RefusedError(_gone(cut, replay.time_of(cut)))
        return oldest
    if cut:
        whole_ms = replay.time_of(cut)
        if whole_ms is None or since_ms < whole_ms:
            raise RefusedError(_gone(cut, whole_ms))
    return replay.at_time(oldest, since_ms)


def _gone(cut: Offsets, whole_ms: int | None) -> str:
    (topic, partition), offset = min(cut.items())
    text = (
        f"the log begins at offset {offset} of {topic}/{partition}: what came before is gone by the topic's retention"
    )
    if whole_ms is None:
        return f"{text}, and nothing came since"
    since = datetime.fromtimestamp(whole_ms / 1000 + 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f"{text}. Possible: --from {since} or later, which keeps what the twins counted before, and finds again only"
        " what can be found from then on"
    )
