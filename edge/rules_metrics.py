"""Metrics of the collection rules. The engine counts by plain additions; objects are made when Prometheus asks."""

from collections.abc import Iterable, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge.rules.desk import Desk
from edge.rules.engine import Engine
from edge.rules.plan import Plan


class RulesCollector(Collector):
    """Every name begins with `fleetfold_edge_rules_`. What is counted per rule begins anew with each new set."""

    def __init__(self, engine: Engine, desk: Desk) -> None:
        self._engine = engine
        self._desk = desk

    def collect(self) -> Iterable[Metric]:
        """All of them."""
        plan = self._engine.plan
        info = GaugeMetricFamily(
            "fleetfold_edge_rules_info", "1 for the set in force", labels=["origin", "version", "digest"]
        )
        info.add_metric([self._desk.origin, *([str(plan.version), plan.digest] if plan is not None else ["", ""])], 1)
        yield info
        yield CounterMetricFamily("fleetfold_edge_rules_refused", "Sets with faults", self._desk.refused)
        yield from self._frames()
        if plan is not None:
            yield from _of_plan(plan)

    def _frames(self) -> Iterable[Metric]:
        tally = self._engine.tally
        frames = {
            "judged": tally.frames,
            "reduced": tally.reduced_frames,
            "emptied": tally.emptied_frames,
            "unread": tally.unread_frames,
            "made": tally.extra_frames,
        }
        yield _by("frames", "Frames judged; of these reduced, emptied, unreadable; and made", "what", frames)
        sizes = {"received": tally.received_bytes, "passed": tally.passed_bytes}
        yield _by("bytes", "Payloads of signals before and after the rules", "side", sizes)
        forgotten = tally.assets_forgotten
        yield CounterMetricFamily("fleetfold_edge_rules_assets_forgotten", "Assets beyond assets_max", forgotten)
        yield CounterMetricFamily(
            "fleetfold_edge_rules_failures", "Chunks sent whole by a fault of ours", tally.failures
        )
        yield GaugeMetricFamily("fleetfold_edge_rules_assets", "Assets remembered", self._engine.assets)
        yield GaugeMetricFamily("fleetfold_edge_rules_ring_bytes", "Samples held for captures", self._engine.ring_bytes)


def _of_plan(plan: Plan) -> Iterable[Metric]:
    collectors = [*plan.collectors, plan.unnamed]
    yield _by("samples_kept", "Samples sent", "rule", {each.name: each.kept for each in collectors})
    yield _by("samples_withheld", "Samples not sent", "rule", {each.name: each.withheld for each in collectors})
    yield _by("captures", "Captures begun", "rule", {each.name: each.captures for each in plan.traps})
    suppressed = {each.name: each.suppressed for each in plan.traps}
    yield _by("captures_suppressed", "Captures not begun: too soon after the last", "rule", suppressed)
    yield _by("samples_captured", "Withheld samples sent after all", "rule", {t.name: t.samples for t in plan.traps})


def _by(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"fleetfold_edge_rules_{name}", text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family
