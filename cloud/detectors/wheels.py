"""The four wheels as subjects."""

from typing import Final

WHEELS: Final = ("row1_left", "row1_right", "row2_left", "row2_right")
LABELS: Final = ("front left", "front right", "rear left", "rear right")


def wheel_paths(leaf: str) -> tuple[str, ...]:
    """The catalogue paths of a leaf such as `Tire.Pressure`, in the order of `WHEELS`."""
    return tuple(
        f"Vehicle.Chassis.Axle.{row}.Wheel.{side}.{leaf}" for row in ("Row1", "Row2") for side in ("Left", "Right")
    )
