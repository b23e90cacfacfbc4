"""Figures and the plot of a headline run."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks import headline_run
from benchmarks.figures import Row
from benchmarks.headline_run import Outcome
from benchmarks.headline_watch import Moment

AGE_S_MAX: Final = 5.0
RSS_GIB_MAX: Final = 8.0
CORES_MAX: Final = 2.0
_SIMULATOR_SHARE_MAX: Final = 0.6
_VEHICLES: Final = 100_000
_FRAMES_PER_S: Final = 10_000
_RATE_KEPT: Final = 0.99
"""What is on its way when measuring begins is not as much as when it ends."""
_WINDOW_S: Final = 5.0
_WAITING: Final = (headline_run.IN_BROKER, headline_run.IN_SPOOL, headline_run.IN_KAFKA)


def percentile(ages: Sequence[float], percent: float) -> float:
    """0 of nothing."""
    return float(np.percentile(ages, percent)) if ages else 0.0


def rate(outcome: Outcome, hop: str) -> float:
    """Per second, over the time of measuring; a counter's first and last value."""
    seen = [moment for moment in outcome.moments if hop in moment.hops]
    if len(seen) < 2:
        return 0.0
    first, last = seen[0], seen[-1]
    return (last.hops[hop] - first.hops[hop]) / (last.at_s - first.at_s)


def cores(outcome: Outcome) -> dict[str, float]:
    """CPU seconds a second of each process."""
    first, last = outcome.moments[0], outcome.moments[-1]
    return {
        name: (use.cpu_s - first.uses[name].cpu_s) / (last.at_s - first.at_s)
        for name, use in last.uses.items()
        if name in first.uses
    }


def rss_gib(moments: Sequence[Moment]) -> float:
    """The most that all processes had at one time."""
    return max(sum(use.rss_bytes for use in moment.uses.values()) for moment in moments) / 2**30


def frame_us(outcome: Outcome) -> dict[str, float]:
    """CPU of each process for each frame that passed it, in microseconds."""
    sent, folded = rate(outcome, "sent_frames"), rate(outcome, "folded")
    of_folded = ("mongod", "fold")
    rates = {name: folded if name.startswith(of_folded) else sent for name in cores(outcome)}
    return {name: share / rates[name] * 1e6 if rates[name] else 0.0 for name, share in cores(outcome).items()}


def notes(outcome: Outcome) -> list[str]:
    """Where the time goes: how old twins were over time, where messages wait, who computes most."""
    begun_s, parts = outcome.moments[0].at_s, 10
    length_s = max(1.0, outcome.plan.duration_s / parts)
    of_part: list[list[float]] = [[] for _ in range(parts)]
    for age in outcome.ages:
        of_part[min(parts - 1, max(0, int((age.at_s - begun_s) / length_s)))].append(age.age_s)
    shown = ", ".join(f"{percentile(ages, 99):.1f}" if ages else "none seen" for ages in of_part)
    of_frame = frame_us(outcome)
    busiest = sorted(cores(outcome).items(), key=lambda item: -item[1])[:4]
    computing = ", ".join(f"{name} {share:.2f} cores ({of_frame[name]:.0f} us a frame)" for name, share in busiest)
    return [
        f"p99 of the ages, each {length_s:g} s: {shown} s",
        "waiting when measuring began and ended: "
        + ", ".join(f"{hop} {_waits(outcome, hop, 0):,.0f} and {_waits(outcome, hop, -1):,.0f}" for hop in _WAITING),
        f"most of the processor: {computing}",
        "history is kept, too" if outcome.plan.history else "without history; --history keeps it, too",
    ]


def _waits(outcome: Outcome, hop: str, at: int) -> float:
    return outcome.moments[at].hops.get(hop, 0.0)


def sustained(outcome: Outcome) -> bool:
    """Whether the machine kept up with the fleet."""
    p99_s = percentile([age.age_s for age in outcome.ages], 99)
    kept = rate(outcome, "folded") >= _RATE_KEPT * outcome.plan.frames_per_s
    clean = outcome.drained_s is not None and not outcome.verdict["lost"] and not outcome.verdict["doubled"]
    return bool(outcome.ages) and p99_s < AGE_S_MAX and kept and clean


def rows(outcome: Outcome) -> list[Row]:
    """Every figure."""
    return [*_headline(outcome), *_processes(outcome), *_hops(outcome)]


def _headline(outcome: Outcome) -> list[Row]:
    plan, verdict = outcome.plan, outcome.verdict
    ages = [age.age_s for age in outcome.ages]
    folded, wanted = rate(outcome, "folded"), plan.frames_per_s
    late = outcome.simulator["lateness_s"]
    p99_s = percentile(ages, 99)
    used, memory = sum(cores(outcome).values()), rss_gib(outcome.moments)
    overdue_s = max((stale.overdue_s for stale in outcome.stale), default=0.0)
    full_size = plan.vehicles >= _VEHICLES
    return [
        Row("vehicles", plan.vehicles, "", None, f">= {_VEHICLES}", full_size),
        Row("measured for", plan.duration_s, "s"),
        Row("signals per frame", plan.signals, ""),
        Row("frames sent", rate(outcome, "sent_frames"), "1/s", wanted),
        Row(
            "frames folded",
            folded,
            "1/s",
            wanted,
            f">= {_FRAMES_PER_S}, within 1 %",
            folded >= _RATE_KEPT * _FRAMES_PER_S,
        ),
        Row("age when visible p50", percentile(ages, 50), "s"),
        Row("age when visible p99", p99_s, "s", None, f"< {AGE_S_MAX:g}", bool(ages) and p99_s < AGE_S_MAX),
        Row("age when visible max", max(ages, default=0.0), "s"),
        Row("twin overdue max", overdue_s, "s"),
        Row("drained after", -1.0 if outcome.drained_s is None else outcome.drained_s, "s"),
        *(Row(f"waiting at the end, {hop}", _waits(outcome, hop, -1), "") for hop in _WAITING),
        Row("lost", verdict["lost"], "", None, "0", verdict["lost"] == 0),
        Row("doubled", verdict["doubled"], "", None, "0", verdict["doubled"] == 0),
        Row("wrong", verdict["wrong"], "", None, "0", verdict["wrong"] == 0),
        Row("verified frames and events", verdict["folded"], "", verdict["sent"]),
        Row("verified in", outcome.verify_s, "s", None, "<= 60", outcome.verify_s <= 60.0),
        Row("cores used", used, "", None, f"<= {CORES_MAX:g}", used <= CORES_MAX),
        Row("memory, all processes", memory, "GiB", None, f"< {RSS_GIB_MAX:g}", memory < RSS_GIB_MAX),
        Row("simulator lateness p50", late["p50"], "s"),
        Row("simulator lateness p99", late["p99"], "s"),
    ]


def _processes(outcome: Outcome) -> list[Row]:
    found = []
    of_frame = frame_us(outcome)
    for name, share in cores(outcome).items():
        is_fleet = name == "fleet"
        target = f"<= {_SIMULATOR_SHARE_MAX:g}" if is_fleet else None
        met = share <= _SIMULATOR_SHARE_MAX if is_fleet else None
        found.append(Row(f"{name}: cores", share, "", None, target, met))
        found.append(Row(f"{name}: CPU per frame", of_frame[name], "us"))
        memory = [moment.uses[name].rss_bytes for moment in outcome.moments if name in moment.uses]
        found.append(Row(f"{name}: memory", max(memory) / 2**20, "MiB"))
    return found


def _hops(outcome: Outcome) -> list[Row]:
    """Bytes per vehicle and hour; the reference is what the frames themselves have."""
    payload = rate(outcome, "mqtt_payload_bytes")
    per_vehicle = 3_600.0 / outcome.plan.vehicles
    named = {
        "device to broker (MQTT)": "sent_bytes",
        "broker to agent (payloads)": "mqtt_payload_bytes",
        "agent to disk (spool)": "spool_bytes",
        "agent to Kafka": "kafka_bytes",
        "fold to MongoDB": "mongodb_bytes",
    }
    return [
        Row(f"{name}, per vehicle-hour", rate(outcome, hop) * per_vehicle / 1_000, "kB", payload * per_vehicle / 1_000)
        for name, hop in named.items()
    ]


def plot(outcome: Outcome, path: Path) -> None:
    """Rate, age, what waits where, CPU and memory over the time of measuring, in one picture."""
    figure = Figure(figsize=(11, 11), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(5, 1, sharex=True)
    began_s = outcome.moments[0].at_s
    draw: list[Callable[[Axes, Outcome, float], None]] = [
        _plot_rate,
        _plot_age,
        _plot_waiting,
        _plot_cores,
        _plot_memory,
    ]
    for part, axis in zip(draw, axes, strict=True):
        part(axis, outcome, began_s)
        axis.grid(alpha=0.3)
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
        axis.set_ylim(bottom=0)
    axes[-1].set_xlabel("seconds")
    plan, verdict = outcome.plan, outcome.verdict
    figure.suptitle(
        f"{plan.vehicles:,} vehicles, {plan.frames_per_s:,.0f} frames/s of {plan.signals} signals at QoS 1: "
        f"{verdict['lost']} lost, {verdict['doubled']} doubled"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _plot_rate(axis: Axes, outcome: Outcome, began_s: float) -> None:
    for hop, label in (("sent_frames", "sent"), ("folded", "folded")):
        times = [moment.at_s - began_s for moment in outcome.moments]
        counts = [moment.hops.get(hop, 0.0) for moment in outcome.moments]
        step = min(3, max(1, len(times) - 1))
        per_s = [
            (later - earlier) / (end - begin)
            for earlier, later, begin, end in zip(counts, counts[step:], times, times[step:], strict=False)
        ]
        axis.plot(times[step:], per_s, label=label)
    axis.axhline(outcome.plan.frames_per_s, color="grey", linestyle=":", label="wanted")
    axis.set_ylabel("frames/s")


def _plot_age(axis: Axes, outcome: Outcome, began_s: float) -> None:
    windows: dict[int, list[float]] = {}
    for age in outcome.ages:
        windows.setdefault(int((age.at_s - began_s) / _WINDOW_S), []).append(age.age_s)
    times = [(window + 0.5) * _WINDOW_S for window in sorted(windows)]
    for label, percent in (("p50", 50.0), ("p99", 99.0), ("max", 100.0)):
        axis.plot(times, [percentile(windows[window], percent) for window in sorted(windows)], label=label)
    axis.axhline(AGE_S_MAX, color="grey", linestyle=":", label="limit (p99)")
    axis.set_ylabel("age of twins, s")


def _plot_waiting(axis: Axes, outcome: Outcome, began_s: float) -> None:
    times = [moment.at_s - began_s for moment in outcome.moments]
    for hop in _WAITING:
        axis.plot(times, [moment.hops.get(hop, 0.0) for moment in outcome.moments], label=hop)
    axis.set_ylabel("waiting")


def _plot_cores(axis: Axes, outcome: Outcome, began_s: float) -> None:
    for name in outcome.moments[0].uses:
        seen = [moment for moment in outcome.moments if name in moment.uses]
        shares = [
            (later.uses[name].cpu_s - earlier.uses[name].cpu_s) / (later.at_s - earlier.at_s)
            for earlier, later in itertools.pairwise(seen)
        ]
        axis.plot([moment.at_s - began_s for moment in seen[1:]], shares, label=name, linewidth=0.8)
    axis.set_ylabel("cores")


def _plot_memory(axis: Axes, outcome: Outcome, began_s: float) -> None:
    for name in outcome.moments[0].uses:
        seen = [moment for moment in outcome.moments if name in moment.uses]
        axis.plot(
            [moment.at_s - began_s for moment in seen],
            [moment.uses[name].rss_bytes / 2**20 for moment in seen],
            label=name,
        )
    axis.set_ylabel("memory, MiB")
