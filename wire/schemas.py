"""JSON Schemas (2020-12) of every message, from the types that the code itself reads with.

`python -m wire.schemas docs/schemas` writes one file per message. What a schema cannot say is in the types'
docstrings and in `wire.limits`: sizes in bytes, nesting, the range of `ts` + `dt`, that integers are written
without a fraction, the catalogue's types and ranges.
"""

import argparse
import inspect
import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from wire import collection, messages
from wire.malformed import Reason

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_Header = Annotated[str, Meta(min_length=1)]
_Digits = Annotated[str, Meta(pattern=r"^[0-9]+\Z")]


class RecordHeaders(Struct, kw_only=True, rename={"content_type": "content-type"}):
    """Headers of every record, as UTF-8 text: CloudEvents 1.0, Kafka protocol binding, binary mode."""

    content_type: _Header
    ce_specversion: Literal["1.0"]
    ce_id: _Header
    ce_source: _Header
    ce_type: Annotated[str, Meta(pattern=r"^org\.fleetfold\.[a-z0-9._]+\Z")]
    ce_time: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z\Z")]
    ce_subject: _Header | msgspec.UnsetType = msgspec.UNSET


class DeadLetterHeaders(RecordHeaders, kw_only=True):
    """Headers of a record on a `.dlq` topic; its value is the original's bytes, cut to the limit.

    `dlq_origin` is `mqtt:<topic>#<gateway>/<epoch>/<sequence>` or `topic/partition/offset[/index]`; of the latter
    with an index, `dlq_source` is the former. `dlq_size` counts the original's bytes.
    """

    dlq_reason: Reason
    dlq_detail: str
    dlq_origin: str
    dlq_time_ms: _Digits
    dlq_size: _Digits
    dlq_source: _Header | msgspec.UnsetType = msgspec.UNSET


TYPES: Final[dict[str, Any]] = {
    "frame": messages.Frame,
    "connection_state": messages.ConnectionState,
    "event": messages.AnyEvent,
    "dtc_event": messages.DtcEvent,
    "charging_event": messages.ChargingEvent,
    "notify_event": messages.NotifyEvent,
    "trip_event": messages.TripEvent,
    "batch": messages.Batch,
    "profile": messages.Profile,
    "role": messages.Role,
    "lifecycle_step": messages.LifecycleStep,
    "activity": messages.Activity,
    "anomaly": messages.Anomaly,
    "rule_set": collection.RuleSet,
    "rules_status": collection.RulesStatus,
    "record_headers": RecordHeaders,
    "dead_letter_headers": DeadLetterHeaders,
}
"""Schema name to message type."""


def schema(name: str) -> dict[str, Any]:
    """The schema of a message, complete in itself."""
    generated = msgspec.json.schema(TYPES[name])
    definitions = generated.pop("$defs")
    if list(generated) == ["$ref"]:  # one type: show it, instead of a reference to it
        generated = definitions.pop(generated["$ref"].rpartition("/")[2])
    head = {"$schema": DIALECT, "$id": f"urn:fleetfold:schema:{name}:v1"}
    tail = {"$defs": definitions} if definitions else {}
    shown: dict[str, Any] = _for_readers({**head, **generated, **tail})
    return shown


def _for_readers(part: Any) -> Any:
    """Python's end-of-text pattern as ECMA-262 writes it; docstrings without their indentation."""
    if isinstance(part, list):
        return [_for_readers(item) for item in part]
    if not isinstance(part, dict):
        return part
    changed = {key: _for_readers(item) for key, item in part.items()}
    if isinstance(part.get("pattern"), str):
        changed["pattern"] = part["pattern"].replace(r"\Z", "$")
    if isinstance(part.get("description"), str):
        changed["description"] = inspect.cleandoc(part["description"])
    return changed


def text(name: str) -> str:
    """The file of a schema."""
    return json.dumps(schema(name), indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write every schema into a folder."""
    parser = argparse.ArgumentParser(prog="python -m wire.schemas", description=inspect.cleandoc(main.__doc__ or ""))
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in TYPES:
        (folder / f"{name}.json").write_text(text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
