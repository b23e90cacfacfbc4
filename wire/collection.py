"""Collection rules: what an edge agent sends of the signals that it hears, and its answer which rules it follows.

Unlike everywhere else in the contract an unknown field is a fault here: a limit that is misspelt, or that an older
agent does not know, must not be a silent default. What the types cannot say (paths, conditions, names given twice)
is checked by `edge.rules`. Times are RFC 3339 with an offset, since people write them.
"""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from wire.messages import Text, TimeMs, Version
from wire.topics import Kind

RULES_MAX: Final = 200
SET_BYTES_MAX: Final = 256 * 1024
CONDITION_CHARS_MAX: Final = 2_000
INTERVAL_S_MAX: Final = 86_400
SNAPSHOT_S_DEFAULT: Final = 300.0
BEFORE_S_MAX: Final = 3_600

RuleName = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\Z")]
"""It labels metrics, log lines and captured frames."""
SetVersion = Annotated[int, Meta(ge=0, le=2**53 - 1)] | Annotated[str, Meta(min_length=1, max_length=64)]
AssetPattern = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}\*?\Z")]
"""An asset id, or its beginning followed by `*`."""
SignalPattern = Annotated[str, Meta(min_length=1, max_length=256)]
"""A path; `*` stands for one element, as the last one for everything below."""
Moment = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})\Z"
    ),
]
"""RFC 3339, with an offset."""
Interval = Annotated[float, Meta(gt=0, le=INTERVAL_S_MAX)]
Window = Annotated[float, Meta(ge=0, le=BEFORE_S_MAX)]
_Assets = Annotated[list[AssetPattern], Meta(max_length=1_000)]
_Signals = Annotated[list[SignalPattern], Meta(min_length=1, max_length=100)]


class Rule(Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, tag_field="mode"):
    """What every rule has: which assets (none named: all of `kind`) and signals, from when to when."""

    name: RuleName
    kind: Kind
    assets: _Assets = []
    starts: Moment | None = None
    expires: Moment | None = None


class KeepAll(Rule, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, tag="all"):
    """Every sample is sent."""

    signals: _Signals


class KeepNone(Rule, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, tag="none"):
    """No sample is sent; captures still can."""

    signals: _Signals


class KeepInterval(Rule, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, tag="interval"):
    """Of each signal at most one sample in `interval_s`."""

    signals: _Signals
    interval_s: Interval


class KeepChanges(Rule, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, tag="on_change"):
    """A sample is sent when it differs from the last one sent by more than the deadband.

    The deadband of a number is the larger of `deadband` (in the signal's unit) and `deadband_percent` of the last
    value sent; other types have none. `snapshot_s` after the last one, a sample is sent in any case. With
    `interval_s`, changes too are sent at most so often.
    """

    signals: _Signals
    deadband: Annotated[float, Meta(ge=0)] = 0.0
    deadband_percent: Annotated[float, Meta(ge=0, le=100)] = 0.0
    snapshot_s: Interval = SNAPSHOT_S_DEFAULT
    interval_s: Interval | None = None


class Capture(Rule, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True, tag="capture"):
    """While a condition holds, or when it begins to, every sample of `signals` is sent, whatever other rules withhold.

    From `before_s` before until `after_s` after: `rising`, the moment the condition became true; `while_true`, every
    moment it was true. The next capture begins `gap_s` after the last ended, or later. `urgent` captures are stored
    with the events and outlive signals when space runs out.
    """

    condition: Annotated[str, Meta(min_length=1, max_length=CONDITION_CHARS_MAX)]
    signals: _Signals = field(default_factory=lambda: ["*"])
    trigger: Literal["rising", "while_true"] = "rising"
    before_s: Window = 0.0
    after_s: Window = 0.0
    gap_s: Annotated[float, Meta(ge=0, le=INTERVAL_S_MAX)] = 0.0
    priority: Literal["normal", "urgent"] = "normal"


AnyRule = KeepAll | KeepNone | KeepInterval | KeepChanges | Capture
Collecting = KeepAll | KeepNone | KeepInterval | KeepChanges


class RuleSet(Struct, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """All rules of an agent; a new set replaces the old one as a whole.

    The first rule that names a signal (and is not a capture) decides about it. `unnamed`: what becomes of signals
    that no rule names. `version` is for people and acknowledgements; it need not rise.
    """

    version: SetVersion
    rules: Annotated[list[AnyRule], Meta(max_length=RULES_MAX)] = []
    unnamed: Literal["keep", "drop"] = "keep"


class Fault(Struct, frozen=True):
    """One thing wrong with a set: where (`rules[2].deadband`), what, and what to do about it."""

    path: str
    problem: str
    advice: str


Origin = Literal["none", "file", "all", "gateway"]
"""Where a set came from: nowhere, the agent's own file, what is published for all gateways or for this one."""


class Refusal(Struct, frozen=True):
    """A set that was not taken."""

    origin: Origin
    ts: TimeMs
    faults: Annotated[list[Fault], Meta(max_length=50)]
    version: SetVersion | None = None


class RulesStatus(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Which rules a gateway follows now, and what it refused since it took them.

    `digest` tells two sets of one version apart; how a set was written, and defaults, do not change it. `stored` false:
    the disk did not take the set yet, so a restart would forget it.
    """

    v: Version
    gateway: Text
    ts: TimeMs
    origin: Origin
    version: SetVersion | None = None
    digest: str | None = None
    stored: bool
    refused: Annotated[list[Refusal], Meta(max_length=3)] = []
