"""What a rebuild did, and as plain values. Pure."""

from dataclasses import dataclass
from typing import Any

from cloud.rebuild_compare import Differences


@dataclass(slots=True)
class Result:
    """What a rebuild did. `kept`: assets that the log says nothing of, left as they are."""

    records: int = 0
    twins: int = 0
    kept: int = 0
    anomalies: int = 0
    withdrawn: int = 0
    pause_ms: int = 0
    differences: Differences | None = None
    not_compared: int = 0
    finished: bool = False
    """Only what an earlier, killed rebuild had left to do was done."""


def summary(result: Result) -> dict[str, Any]:
    """The result as plain values."""
    found: dict[str, Any] = {
        name: getattr(result, name)
        for name in ("records", "twins", "kept", "anomalies", "withdrawn", "pause_ms", "finished")
    }
    if result.differences is not None:
        differences = result.differences
        found["differences"] = {
            "compared": differences.compared,
            "equal": differences.equal,
            "only_rebuilt": differences.only_rebuilt,
            "not_compared": result.not_compared,
            "fields": dict(differences.fields.most_common()),
            "examples": [
                {"asset_id": asset_id, "field": name, "live": here, "rebuilt": there}
                for asset_id, name, here, there in differences.examples
            ],
        }
    return found
