"""Which rules count: those published for this gateway, else those for all gateways, else those of its own file.

A set is taken as a whole or not at all; one that is refused leaves the old one of its origin in force. What was
published is stored, so that a restart without a link follows the same rules. Nothing here is on the way of messages.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog

from edge.clock import Clock
from edge.rules import reading
from edge.rules.engine import Engine
from edge.rules.plan import Plan
from wire import limits
from wire.collection import Fault, Origin, Refusal, RulesStatus

PUBLISHED: Final[tuple[Origin, ...]] = ("gateway", "all")
RANK: Final[tuple[Origin, ...]] = (*PUBLISHED, "file")
_FAULTS_LOGGED: Final = 10


class Offer(NamedTuple):
    """A set as it was published; None: there is none any more."""

    origin: Origin
    raw: bytes | None


Stored = dict[Origin, bytes]
"""The sets that were published, as JSON."""


class Desk:
    """Methods may be called by any thread. `save` raises OSError; `tell` gets each new status."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        gateway: str,
        save: Callable[[Stored], None],
        tell: Callable[[RulesStatus], None],
    ) -> None:
        self.refused = 0
        self._engine = engine
        self._clock = clock
        self._gateway = gateway
        self._save = save
        self._tell = tell
        self._log = structlog.get_logger("edge.rules")
        self._lock = threading.RLock()
        self._plans: dict[Origin, Plan] = {}
        self._heard: dict[Origin, bytes | None] = {}
        self._refusals: dict[Origin, Refusal] = {}
        self._in_force: Plan | None = None
        self.is_stored = True
        """Whether a restart would know all that was published."""
        self._active_names: set[str] = set()
        self._failures_logged = 0
        self._told: RulesStatus | None = None

    @property
    def origin(self) -> Origin:
        """Of the set in force."""
        return next((origin for origin in RANK if origin in self._plans), "none")

    @property
    def plan(self) -> Plan | None:
        """The set in force."""
        return self._plans.get(self.origin)

    def begin(self, file: Path | None, stored: Stored) -> list[Fault]:
        """Take what is there at the start. Returns the faults of the file; then it is not in force."""
        with self._lock:
            for origin, raw in stored.items():
                self._take(Offer(origin, raw))
            faults = self.read_file(file)
            self._settle()
            return faults

    def read_file(self, file: Path | None) -> list[Fault]:
        """Read the file (again). Returns its faults."""
        with self._lock:
            if file is None:
                self._plans.pop("file", None)
                found: Plan | list[Fault] = []
            else:
                found = reading.read_file(file)
                self._judge("file", found, None)
            self._settle()
            return found if isinstance(found, list) else []

    def offer(self, offers: list[Offer]) -> None:
        """Take what was published since; the last of an origin counts. Also the moment for what time brings."""
        with self._lock:
            taken = [self._take(offer) for offer in offers]
            if any(taken):
                self.is_stored = False
            self._settle()

    def _take(self, offer: Offer) -> bool:
        """Whether there is another set to be stored."""
        if offer.origin in self._heard and self._heard[offer.origin] == offer.raw:
            return False  # the same again, as after each reconnection
        self._heard[offer.origin] = offer.raw
        if offer.raw:
            return self._judge(offer.origin, reading.parse(offer.raw), offer.raw)
        self._refusals.pop(offer.origin, None)
        withdrawn = self._plans.pop(offer.origin, None)
        if withdrawn is not None:
            self._log.info("rules_withdrawn", origin=offer.origin, version=withdrawn.version)
        return withdrawn is not None

    def _judge(self, origin: Origin, found: Plan | list[Fault], raw: bytes | None) -> bool:
        if isinstance(found, Plan):
            self._refusals.pop(origin, None)
            before = self._plans.get(origin)
            if before is not None and before.digest == found.digest:
                return False
            self._plans[origin] = found
            return True
        self.refused += 1
        version = reading.version_of(raw) if raw is not None else None
        self._refusals[origin] = Refusal(origin, self._now_ms(), found, version)
        self._log.error(
            "rules_refused",
            origin=origin,
            version=version,
            faults=[f"{fault.path}: {fault.problem}; {fault.advice}" for fault in found[:_FAULTS_LOGGED]],
            advice="the old rules of this origin stay",
        )
        return False

    def _settle(self) -> None:
        """Put in force what counts, store it, say so."""
        plan = self.plan
        if plan is not self._in_force:
            self._in_force = plan
            self._engine.adopt(plan)
            self._active_names = plan.active(self._clock.now_ms()) if plan is not None else set()
            named = {"version": plan.version, "digest": plan.digest} if plan is not None else {}
            self._log.info("rules_in_force", origin=self.origin, rules=len(self._active_names), **named)
        self._store()
        self._watch_time()
        self._watch_engine()
        self._say()

    def _store(self) -> None:
        if self.is_stored:
            return
        published = {origin: self._plans[origin] for origin in PUBLISHED if origin in self._plans}
        try:
            self._save({origin: msgspec.json.encode(plan.rules) for origin, plan in published.items()})
        except OSError as error:
            self._log.warning("rules_not_stored", error=str(error), advice="in force, but a restart would forget them")
        else:
            self.is_stored = True

    def _watch_time(self) -> None:
        if self._in_force is None:
            return
        active = self._in_force.active(self._clock.now_ms())
        for name in sorted(self._active_names - active):
            self._log.info("rule_ended", rule=name)
        for name in sorted(active - self._active_names):
            self._log.info("rule_began", rule=name)
        self._active_names = active

    def _watch_engine(self) -> None:
        if self._engine.tally.failures != self._failures_logged:
            self._failures_logged = self._engine.tally.failures
            self._log.error("rules_failed", traceback=self._engine.failure, advice="everything was sent; report this")

    def _now_ms(self) -> int:
        return min(max(self._clock.now_ms(), limits.TIME_MS_MIN), limits.TIME_MS_MAX)

    def _say(self) -> None:
        status = self.status()
        if self._told is None or msgspec.structs.replace(self._told, ts=status.ts) != status:
            self._told = status
            self._tell(status)

    def status(self) -> RulesStatus:
        """As it is told to others."""
        plan = self.plan
        return RulesStatus(
            v=1,
            gateway=self._gateway,
            ts=self._now_ms(),
            origin=self.origin,
            version=plan.version if plan is not None else None,
            digest=plan.digest if plan is not None else None,
            stored=self.is_stored,
            refused=list(self._refusals.values()),
        )
