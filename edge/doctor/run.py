"""All checks in order: what is on this machine, then each side."""

import re
import urllib.request
from collections.abc import Iterator
from typing import Final

from edge.config import FIRST_BROKER, BrokerSettings, EdgeSettings
from edge.doctor import certificates, clock, disk, findings, kafka, mqtt, reach
from edge.doctor.findings import Finding, Grade
from edge.doctor.reach import Address

_METRICS_LIMIT_S: Final = 2.0
_UPTIME_S_MIN: Final = 60.0


def check(settings: EdgeSettings, bytes_per_s: float | None) -> Iterator[Finding]:
    """`bytes_per_s`: how much a day brings, when known; else a running agent is asked, if it has a fixed port."""
    yield clock.check(settings.spool.directory)
    yield from disk.check(settings.spool.directory, settings.spool.bytes_max)
    yield _outage(settings, bytes_per_s)
    for name, broker in settings.all_brokers.items():
        yield from _mqtt(name if name == FIRST_BROKER else f"mqtt {name}", broker)
    yield from _kafka(settings)


def _outage(settings: EdgeSettings, bytes_per_s: float | None) -> Finding:
    origin = "as given"
    if bytes_per_s is None and settings.http.enabled and settings.http.port:
        origin = "the running agent's average"
        bytes_per_s = measured(_metrics(settings.http.port))
    return disk.outage(settings.spool.bytes_max, bytes_per_s, origin)


def _metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_METRICS_LIMIT_S) as answer:
            return str(answer.read(1_000_000), "utf-8", "replace")
    except OSError:
        return ""


def measured(page: str) -> float | None:
    """Bytes a second that an agent has put into its spool since it started; None before it ran for a minute."""
    found = dict(re.findall(r"^fleetfold_edge_(spool_written_bytes_total|uptime_seconds) (\S+)$", page, re.MULTILINE))
    if len(found) < 2 or float(found["uptime_seconds"]) < _UPTIME_S_MIN:
        return None
    return float(found["spool_written_bytes_total"]) / float(found["uptime_seconds"])


def _mqtt(side: str, settings: BrokerSettings) -> Iterator[Finding]:
    yield from certificates.check(side, settings)
    way = list(reach.check(side, Address(settings.host, settings.port), settings if settings.tls else None))
    yield from way
    if _is_clear(way):
        yield from mqtt.check(side, settings)
    else:
        yield findings.skipped(f"{side} login", "the way there is not clear")


def _kafka(settings: EdgeSettings) -> Iterator[Finding]:
    yield from certificates.check("kafka", settings.kafka)
    files = settings.kafka if settings.kafka.security_protocol.endswith("ssl") else None
    ways = [list(reach.check("kafka", address, files)) for address in bootstrap(settings.kafka.bootstrap_servers)]
    for way in ways:
        yield from way
    if any(_is_clear(way) for way in ways):
        yield from kafka.check(settings.kafka, settings.rules.remote == "kafka")
    else:
        yield findings.skipped("kafka login", "the way there is not clear")


def bootstrap(servers: str) -> list[Address]:
    """The addresses in `host:port,host:port`; Kafka's own default port where none is said."""
    found = []
    for server in servers.split(","):
        host, colon, port = server.strip().rpartition(":")
        is_whole = bool(colon) and port.isdigit()
        found.append(Address((host if is_whole else server.strip()).strip("[]"), int(port) if is_whole else 9092))
    return found


def _is_clear(way: list[Finding]) -> bool:
    return bool(way) and all(finding.grade in (Grade.OK, Grade.WARNING) for finding in way)
