"""A twin in memory, and its document. Only the fold's half of the document is here: the linker writes the rest."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from bson.datetime_ms import DatetimeMS
from msgspec import Struct
from msgspec.structs import replace

from cloud import leaves, upgrades
from cloud import search as searches
from cloud.forms import Filled
from cloud.leaves import RANK
from cloud.search import Search
from cloud.upgrades import SCHEMA_VERSION
from cloud.window import Window
from wire import catalogue
from wire.catalogue import Value
from wire.topics import Kind

LATITUDE: Final = catalogue.BY_PATH["Vehicle.CurrentLocation.Latitude"].number
LONGITUDE: Final = catalogue.BY_PATH["Vehicle.CurrentLocation.Longitude"].number
_RANK: Final = {"watch": 1, "service": 2, "critical": 3}
COUNTERS: Final = ("frames", "events", "samples", "gaps", "duplicates", "late", "uncertain", "rejected")


class Position(Struct, frozen=True, gc=False):
    """Where in Kafka a twin stands. `generation` is the topic's id: a topic that was deleted and created
    again begins at offset 0 and must not be taken for one already seen."""

    generation: str
    partition: int
    offset: int


@dataclass(slots=True)
class Connection:
    """What is known of an asset's link; times in ms. `born_ms`: the newest birth, by the device's clock."""

    online: bool = False
    since_ms: int = 0
    session: str = ""
    gateway: str = ""
    last_seen_ms: int = 0
    born_ms: int = 0
    software: str = ""
    """What the device said that it runs, when it was born; empty: it did not say."""


@dataclass(slots=True)
class Finding:
    """An open anomaly as the twin shows it. `last_ms`: until when it is recorded to last, kept coarse."""

    anomaly_id: str
    detector: str
    subject: str
    severity: str
    since_ms: int
    summary: str
    last_ms: int


class Closed(NamedTuple):
    """A finding that closed lately: if it comes back soon it is the same anomaly."""

    anomaly_id: str
    since_ms: int
    resolved_ms: int


class Held(Struct, frozen=True, gc=False):
    """What a document has of its twin beyond what moves with every frame. `findings`: id, severity, summary and
    `last_ms` of each."""

    catalog: str
    online: bool
    session: str
    gateway: str
    since_ms: int
    software: str
    findings: tuple[tuple[str, str, str, int], ...]


@dataclass(slots=True)
class Twin:
    """The fold's state of one asset, times in ms. `values`: catalogue number → value. Most frames bring all that is
    known, so its source time is one, `moment_ms`; `times`: number → source time of what came since; `newest_ms`: the
    latest. Both dictionaries are replaced and never changed: others may keep them. `inputs`: the detectors' view of the
    values, once they have looked. `search`: the coarse copies that its document has, `held`: what else it has, each
    None when it has none or not as it should be; `new`: there is no document yet; `size_bytes`: in memory, as
    last estimated. `filled`: its document's bytes, while these are ahead of the twin (`cloud/filling.py`).
    `positions`: by topic and partition, since a topic that grows moves an asset to another one while the old one is
    still being read. `heard`: messages of the signals channel so far, whatever became of them: how far in the log the
    detectors are, the same for every worker however it cuts the log."""

    asset_id: str
    kind: Kind
    revision: int = 0
    values: dict[int, Value] = field(default_factory=dict)
    moment_ms: int = 0
    times: dict[int, int] = field(default_factory=dict)
    newest_ms: int = 0
    inputs: "array[float] | None" = field(default=None, compare=False)
    search: Search | None = field(default=None, compare=False)
    held: Held | None = field(default=None, compare=False)
    new: bool = field(default=False, compare=False)
    size_bytes: int = field(default=0, compare=False)
    filled: Filled | None = field(default=None, compare=False)
    connection: Connection = field(default_factory=Connection)
    counters: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    positions: dict[tuple[str, int], Position] = field(default_factory=dict)
    windows: dict[tuple[str, str], Window] = field(default_factory=dict)
    forgotten_ms: int = 0
    heard: int = 0
    detectors: dict[str, list[float]] = field(default_factory=dict)
    findings: dict[tuple[str, str], Finding] = field(default_factory=dict)
    closed: dict[tuple[str, str], Closed] = field(default_factory=dict)

    @property
    def signals(self) -> dict[int, tuple[Value, int]]:
        """Catalogue number → (value, source time in ms)."""
        return {number: (value, self.times.get(number, self.moment_ms)) for number, value in self.values.items()}

    def time_ms(self, number: int) -> int | None:
        """The source time of a signal's value; None where there is none."""
        return self.times.get(number, self.moment_ms) if number in self.values else None

    def take(self, ts_ms: int, values: dict[int, Value]) -> None:
        """Let these values of one moment be the newest; the twin keeps the dictionary itself where it may."""
        if self.values.keys() <= values.keys():
            self.values, self.moment_ms = values, ts_ms
            if self.times:
                self.times = {}
        else:
            self.values = self.values | values
            self.times = self.times | dict.fromkeys(values, ts_ms)
        if ts_ms > self.newest_ms:
            self.newest_ms = ts_ms
        self.inputs = None


def new_document(asset_id: str, kind: Kind) -> dict[str, Any]:
    """The document of an asset heard of for the first time, to which both writers add their fields."""
    return {
        "_id": asset_id,
        "kind": str(kind),
        "schema_version": SCHEMA_VERSION,
        "revision": 0,
        "link": {"revision": 0},
        "counters": dict.fromkeys(COUNTERS, 0),
        "health": {"status": "ok", "worst": None, "open": []},
    }


def fold_fields(twin: Twin, revision: int, signals: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The fields that the fold owns, for one `$set` that brings the document to `revision`.

    `signals`: the tree, where it is encoded already.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "catalog": catalogue.VERSION,
        "connection": _connection_fields(twin.connection),
        "health": _health_fields(twin.findings),
        **moving_fields(twin, revision, signals),
    }


def moving_fields(twin: Twin, revision: int, signals: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Those of them that change with every frame; so does `connection.last_seen`."""
    fields: dict[str, Any] = {
        "revision": revision,
        "signals": _tree(twin) if signals is None else signals,
        "counters": twin.counters,
        "fold": {
            "positions": [
                [topic, at.generation, partition, at.offset] for (topic, partition), at in twin.positions.items()
            ],
            "windows": [[channel, session, *window.to_list()] for (channel, session), window in twin.windows.items()],
            "forgotten_ms": twin.forgotten_ms,
            "born_ms": twin.connection.born_ms,
            "heard": twin.heard,
            "detectors": twin.detectors,
            "closed": [[*subject, *closed] for subject, closed in twin.closed.items()],
        },
    }
    place = _place(twin)
    if place is not None:
        fields["location"] = {"type": "Point", "coordinates": list(place)}
    return fields


def rarely(twin: Twin) -> Held:
    """The rest of them, as its document should have it."""
    connection = twin.connection
    findings = tuple([(one.anomaly_id, one.severity, one.summary, one.last_ms) for one in twin.findings.values()])
    return Held(
        catalogue.VERSION,
        connection.online,
        connection.session,
        connection.gateway,
        connection.since_ms,
        connection.software,
        findings,
    )


def search_due(twin: Twin) -> Search:
    """The coarse copies that its document should have: `twin.search` itself when they may stay."""
    return searches.renewed(twin.search, twin.values, _place(twin), twin.connection.last_seen_ms)


def _place(twin: Twin) -> tuple[Any, Any] | None:
    latitude, longitude = twin.values.get(LATITUDE), twin.values.get(LONGITUDE)
    return None if latitude is None or longitude is None else (longitude, latitude)


def _tree(twin: Twin) -> dict[str, Any]:
    signals = sorted(twin.signals.items(), key=lambda signal: RANK[signal[0]])
    return leaves.tree_of({number: {"value": value, "ts": DatetimeMS(ts_ms)} for number, (value, ts_ms) in signals})


def from_document(document: Mapping[str, Any]) -> Twin:
    """The fold's half of a document; raises `NewerSchemaError` when it is not ours to touch."""
    version, document = document["schema_version"], upgrades.upgraded(document)
    fold = document.get("fold", {})
    try:
        signals = _leaves(document.get("signals", {}), leaves.TREE)
    except KeyError as error:
        raise upgrades.newer(document, f"the signal …{error.args[0]}") from error
    newest_ms = max((ts_ms for _, _, ts_ms in signals), default=0)
    asset = Twin(
        asset_id=document["_id"],
        kind=Kind(document["kind"]),
        revision=document["revision"],
        values={number: value for number, value, _ in signals},
        moment_ms=newest_ms,
        times={number: ts_ms for number, _, ts_ms in signals if ts_ms != newest_ms},
        newest_ms=newest_ms,
        search=searches.from_document(document.get("search")),
        connection=_connection(document.get("connection", {}), fold.get("born_ms", 0)),
        counters=dict.fromkeys(COUNTERS, 0) | dict(document.get("counters", {})),
        positions={(topic, at[1]): Position(*at) for topic, *at in fold.get("positions", [])},
        windows={(entry[0], entry[1]): Window.from_list(entry[2:]) for entry in fold.get("windows", [])},
        forgotten_ms=fold.get("forgotten_ms", 0),
        # before it was kept, findings went by the revision, which must not be the greater
        heard=fold.get("heard", max(document["revision"], sum(document.get("counters", {}).values()))),
        detectors={name: list(state) for name, state in fold.get("detectors", {}).items()},
        # int: the driver gives large numbers as a type of its own, which no message can carry
        closed={
            (detector, subject): Closed(anomaly_id, int(since_ms), int(resolved_ms))
            for detector, subject, anomaly_id, since_ms, resolved_ms in fold.get("closed", [])
        },
        findings=_findings(document.get("health", {}).get("open", [])),
    )
    if version == SCHEMA_VERSION and "connection" in document:
        asset.held = replace(rarely(asset), catalog=document.get("catalog", ""))
    return asset


def _leaves(node: Mapping[str, Any], known: Mapping[str, Any]) -> list[tuple[int, Value, int]]:
    """`known`: the catalogue's part of the tree below this node. Raises KeyError for what it does not know: the next
    write would drop that."""
    found: list[tuple[int, Value, int]] = []
    for name, child in node.items():
        below = known[name]
        if type(below) is int:
            found.append((below, child["value"], _ms(child["ts"])))
        else:
            found += _leaves(child, below)
    return found


def _ms(time: DatetimeMS | datetime) -> int:
    return int(time if isinstance(time, DatetimeMS) else DatetimeMS(time))


def _connection_fields(connection: Connection) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "online": connection.online,
        "session": connection.session,
        "gateway": connection.gateway,
        "software": connection.software,
        "last_seen": DatetimeMS(connection.last_seen_ms),
    }
    if connection.since_ms:
        fields["since"] = DatetimeMS(connection.since_ms)
    return fields


def _connection(fields: Mapping[str, Any], born_ms: int) -> Connection:
    if not fields:
        return Connection()
    return Connection(
        online=fields["online"],
        since_ms=_ms(fields["since"]) if "since" in fields else 0,
        session=fields["session"],
        gateway=fields["gateway"],
        last_seen_ms=_ms(fields["last_seen"]),
        born_ms=born_ms,
        software=fields.get("software", ""),  # not in older documents
    )


def _health_fields(findings: Mapping[tuple[str, str], Finding]) -> dict[str, Any]:
    ordered = sorted(
        findings.values(), key=lambda finding: (-_RANK[finding.severity], finding.since_ms, finding.subject)
    )
    return {
        "status": ordered[0].severity if ordered else "ok",
        "worst": ordered[0].detector if ordered else None,
        "open": [
            {
                "anomaly_id": finding.anomaly_id,
                "detector": finding.detector,
                "subject": finding.subject,
                "severity": finding.severity,
                "since": DatetimeMS(finding.since_ms),
                "summary": finding.summary,
                "last": DatetimeMS(finding.last_ms),
            }
            for finding in ordered
        ],
    }


def _findings(shown: list[Mapping[str, Any]]) -> dict[tuple[str, str], Finding]:
    return {
        (entry["detector"], entry["subject"]): Finding(
            entry["anomaly_id"],
            entry["detector"],
            entry["subject"],
            entry["severity"],
            _ms(entry["since"]),
            entry["summary"],
            _ms(entry["last"]),
        )
        for entry in shown
    }
