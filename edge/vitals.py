"""Metrics of the agent as a process: who it is, how long it runs, what room it has, when its certificates end."""

import os
import ssl
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from runtime import tls


class Vitals(NamedTuple):
    """Measured at the moment of asking. `certificates` are ours by side: a broker's name, or `kafka`."""

    version: str
    gateway: str
    uptime_s: float
    is_alive: bool
    is_healthy: bool
    spool_directory: Path
    spool_bytes_max: int
    certificates: Mapping[str, Path]


class VitalsCollector(Collector):
    """Every name begins with `fleetfold_edge_`."""

    def __init__(self, vitals: Callable[[], Vitals]) -> None:
        self._vitals = vitals

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        vitals = self._vitals()
        info = {"version": vitals.version, "gateway": vitals.gateway}
        yield InfoMetricFamily("fleetfold_edge_build", "Version and name of this agent", info)
        yield _gauge("uptime_seconds", "Since the start", vitals.uptime_s)
        yield _gauge("alive", "1 while the loop turns, as /livez", vitals.is_alive)
        yield _gauge("healthy", "1 while everything works, as /healthz", vitals.is_healthy)
        yield _gauge("spool_bytes_max", "What the spool may grow to", vitals.spool_bytes_max)
        yield _gauge("spool_disk_free_bytes", "Free on the spool's file system", _free_bytes(vitals.spool_directory))
        expiry = GaugeMetricFamily(
            "fleetfold_edge_certificate_expiry_timestamp_seconds", "When our certificate ends, by side", labels=["side"]
        )
        for side, file in vitals.certificates.items():
            expiry.add_metric([side], _ends_s(file))
        yield expiry


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"fleetfold_edge_{name}", text, value)


def _free_bytes(directory: Path) -> float:
    try:
        status = os.statvfs(directory)
    except OSError:
        return 0.0
    return float(status.f_bavail * status.f_frsize)


def _ends_s(file: Path) -> float:
    """0 when the file cannot be read: long over, so that whoever watches is called."""
    try:
        return float(ssl.cert_time_to_seconds(tls.certificate(file)["notAfter"]))
    except tls.TlsError:
        return 0.0
