"""The mapping file: which columns of a table are which signals, and how rows make assets, sessions and frames.

TOML. Templates are texts with `{column}`; `{column|compact}` keeps only letters and digits, in upper case.
Every fault is reported with its key, and with what exists where something does not.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from runtime.settings import Section
from simulator.errors import UnusableError
from wire import catalogue, limits
from wire.malformed import Malformed
from wire.messages import Attributes
from wire.topics import Kind

_PLACEHOLDER: Final = re.compile(r"\{(\w+)(\|compact)?\}")
_PACKAGE: Final = "simulator.mappings"

Scalar = bool | int | float | str


class AssetPart(Section):
    """Which asset a row belongs to; `id` is a template, `attributes` has templates where it has texts."""

    kind: Kind
    id: str = Field(min_length=1)
    attributes: dict[str, Scalar] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _known_attributes(self) -> Self:
        for name in self.attributes:
            if name not in Attributes.__struct_fields__:
                raise ValueError(f"attributes: {_no_such(name, Attributes.__struct_fields__, 'attribute')}")
        return self


class SessionPart(Section):
    """Rows with equal values in `columns` are one life of the device; without columns, all rows of the asset are."""

    columns: list[str] = Field(default_factory=list)


class FramePart(Section):
    """How samples become frames."""

    samples_per_frame: int = Field(1, ge=1, le=limits.SAMPLES_PER_FRAME_MAX)


class TimePart(Section):
    """When a moment of a row was: an ISO 8601 `column`, or `seconds` within the session.

    `otherwise` stands in where `column` is empty; `latest` is a column that the time may not pass.
    `session_start_minutes` puts sessions apart; rows that show the same second are spread evenly up to the next.
    """

    column: str | None = None
    otherwise: str | None = None
    latest: str | None = None
    seconds: str | None = None
    session_start_minutes: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.column is None) == (self.seconds is None):
            raise ValueError("give either `column` or `seconds`")
        return self


class ValuePart(Section):
    """A number or text from a column: value · `scale` + `offset`, rounded to `decimals`.

    `above` makes it a boolean. `accumulate` sums over the asset's rows: up to and with this row (`after`), or
    without it (`before`).
    """

    column: str
    scale: float = 1.0
    offset: float = 0.0
    decimals: int | None = Field(None, ge=0, le=9)
    above: float | None = None
    accumulate: Literal["before", "after"] | None = None


class SignalPart(ValuePart):
    """A column that is a signal."""

    path: str


class EventPart(Section):
    """A charging session's step; texts are templates."""

    type: Literal["charging_session"]
    phase: Literal["Started", "Updated", "Ended"]
    transaction_id: str
    evse_id: str | None = None
    stopped_reason: str | None = None
    meter_values: dict[str, ValuePart] = Field(default_factory=dict)


class MomentPart(Section):
    """What a row says about one moment."""

    time: TimePart
    signals: list[SignalPart] = Field(default_factory=list)
    constants: dict[str, Scalar] = Field(default_factory=dict)
    templates: dict[str, str] = Field(default_factory=dict)
    events: list[EventPart] = Field(default_factory=list)


class TableMapping(Section):
    """A whole mapping file."""

    description: str = ""
    asset: AssetPart
    session: SessionPart = SessionPart()
    frames: FramePart = FramePart()
    moments: Annotated[list[MomentPart], Field(min_length=1)]

    def columns(self) -> dict[str, str]:
        """Every column that is used, by a key that names it."""
        return dict(_columns(self))

    def asset_columns(self) -> list[str]:
        """The columns that tell assets apart and describe them."""
        return sorted({column for _, column in _asset_columns(self)})


def names() -> list[str]:
    """The mappings that come with the package."""
    files = resources.files(_PACKAGE).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load(name_or_file: str) -> TableMapping:
    """A mapping by name, or from a TOML file. Raises `UnusableError` with every fault."""
    if name_or_file in names():
        text = resources.files(_PACKAGE).joinpath(f"{name_or_file}.toml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name_or_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            known = ", ".join(names())
            raise UnusableError(f"mapping {name_or_file!r}: no such file, and no mapping of ours ({known})") from error
    return parse(text, name_or_file)


def parse(text: str, origin: str) -> TableMapping:
    """A mapping from the text of a TOML file; `origin` names it in faults."""
    try:
        mapping = TableMapping.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UnusableError(f"{origin}: not TOML: {error}") from error
    except ValidationError as error:
        faults = [f"{origin}: {_key(detail['loc'])}: {_fault(detail)}" for detail in error.errors()]
        raise UnusableError("\n".join(faults)) from error
    faults = [f"{origin}: {fault}" for fault in _path_faults(mapping)]
    if faults:
        raise UnusableError("\n".join(faults))
    return mapping


def check_columns(mapping: TableMapping, origin: str, header: Iterable[str]) -> None:
    """Raises `UnusableError` for every column that the table does not have."""
    existing = list(header)
    faults = [
        f"{origin}: {key}: {_no_such(column, existing, 'column')}"
        for key, column in _columns(mapping)
        if column not in existing
    ]
    if faults:
        raise UnusableError("\n".join([*faults, f"the table has: {', '.join(existing)}"]))


def fill(template: str, row: Mapping[str, str]) -> str:
    """A template with its placeholders filled from a row."""

    def value(match: re.Match[str]) -> str:
        text = row[match[1]]
        return re.sub(r"[^0-9A-Za-z]", "", text).upper() if match[2] else text

    return _PLACEHOLDER.sub(value, template)


def attributes_for(mapping: TableMapping, row: Mapping[str, str]) -> Attributes:
    """What the mapping says about the asset of a row."""
    given = mapping.asset.attributes.items()
    return Attributes(**{name: fill(value, row) if isinstance(value, str) else value for name, value in given})  # type: ignore[arg-type]  # the names were checked


def _columns(mapping: TableMapping) -> Iterator[tuple[str, str]]:
    """(key in the file, column)."""
    yield from _asset_columns(mapping)
    for index, column in enumerate(mapping.session.columns):
        yield f"session.columns[{index}]", column
    for index, moment in enumerate(mapping.moments):
        yield from _moment_columns(f"moments[{index}]", moment)


def _asset_columns(mapping: TableMapping) -> Iterator[tuple[str, str]]:
    yield from _placeholders("asset.id", mapping.asset.id)
    for name, value in mapping.asset.attributes.items():
        if isinstance(value, str):
            yield from _placeholders(f"asset.attributes.{name}", value)


def _moment_columns(key: str, moment: MomentPart) -> Iterator[tuple[str, str]]:
    for name in TimePart.model_fields:
        column = getattr(moment.time, name)
        if column is not None:
            yield f"{key}.time.{name}", column
    for index, signal in enumerate(moment.signals):
        yield f"{key}.signals[{index}].column", signal.column
    for path, template in moment.templates.items():
        yield from _placeholders(f"{key}.templates.{path!r}", template)
    for index, event in enumerate(moment.events):
        for name in ("transaction_id", "evse_id", "stopped_reason"):
            yield from _placeholders(f"{key}.events[{index}].{name}", getattr(event, name) or "")
        for measurand, part in event.meter_values.items():
            yield f"{key}.events[{index}].meter_values.{measurand!r}.column", part.column


def _placeholders(key: str, template: str) -> Iterator[tuple[str, str]]:
    for match in _PLACEHOLDER.finditer(template):
        yield key, match[1]


def _path_faults(mapping: TableMapping) -> Iterator[str]:
    paths = [path for path, signal in catalogue.BY_PATH.items() if signal.kind is mapping.asset.kind]
    for index, moment in enumerate(mapping.moments):
        named = [(f"signals[{place}].path", signal.path) for place, signal in enumerate(moment.signals)]
        named += [(f"constants.{path!r}", path) for path in moment.constants]
        named += [(f"templates.{path!r}", path) for path in moment.templates]
        for key, path in named:
            if path not in paths:
                yield f"moments[{index}].{key}: {_no_such(path, paths, f'{mapping.asset.kind} signal')}"
        for path, value in moment.constants.items():
            judged = catalogue.checked(catalogue.BY_PATH[path], value) if path in paths else None
            if isinstance(judged, Malformed):
                yield f"moments[{index}].constants.{path!r}: {judged.detail}"


def _no_such(name: str, existing: Iterable[str], what: str) -> str:
    near = difflib.get_close_matches(name, list(existing), n=3)
    return f"no {what} {name!r}" + (f"; did you mean {', '.join(near)}?" if near else "")


def _key(location: tuple[int | str, ...]) -> str:
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key or "(file)"


def _fault(detail: Any) -> str:
    if detail["type"] == "extra_forbidden":
        return "unknown key"
    message: str = detail["msg"]
    return message.removeprefix("Value error, ")
