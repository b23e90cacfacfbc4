"""What a headline run is: how large, how long, and the settings that the parts are given, all of them documented."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from local.servers import stack
from local.services import SIMULATOR, Program

DEVICES_ON_PER_S: Final = 1_000
"""So many devices switch on in a second, each with a birth."""
_RAMP_S_MIN: Final = 5
SETTLE_S: Final = 60
"""After everybody is on: what waits since then is folded. A new twin costs several times a known one."""

WORKERS: Final = 2
"""Of the twin service: one of them is held by Python's lock at 7,300 frames/s, while the machine has cores left."""

SYSTEM: Final[Mapping[str, str]] = {
    # a batch of a second's frames, and the gauges of 100,000 twins not counted every second
    "FLEETFOLD_CLOUD__KAFKA__BATCH_RECORDS_MAX": "5000",
    "FLEETFOLD_CLOUD__FOLD__CACHED_TWINS_MAX": "200000",
    "FLEETFOLD_CLOUD__FOLD__CENSUS_INTERVAL_S": "60",
    # the service's default again: the demo's 5 s would be a document for every other frame
    "FLEETFOLD_CLOUD__HISTORY__FLUSH_INTERVAL_S": "60",
    "FLEETFOLD_CLOUD__KAFKA__BATCH_WAIT_MS": "200",
    # every device speaks rarely, so a record has one frame: what is to be batched is records, by time
    "FLEETFOLD_CLOUD__TOPICS__PARTITIONS": "2",
    "FLEETFOLD_EDGE__KAFKA__LINGER_MS": "100",
    # so long as that lingers, a record of one frame counts as on its way: 4 MiB of them are 9,000 a second
    "FLEETFOLD_EDGE__SPOOL__WINDOW_BYTES_MAX": "16777216",
    "FLEETFOLD_EDGE__MQTT__RECEIVE_MAXIMUM": "4000",
    "FLEETFOLD_EDGE__MQTT__QUEUE_MESSAGES_MAX": "16000",
    "FLEETFOLD_EDGE__MQTT__QUEUE_BYTES_MAX": "33554432",
}
"""What differs from the services' defaults."""

_BROKEN: Final = ("WEAK_LOW_VOLTAGE_BATTERY", "COOLANT_OVERHEATING", "TYRE_LEAK", "TROUBLE_CODE")
_WHOLE: Final = (
    "STORED_CODE",
    "TYRE_PUNCTURE",
    "COOLANT_LOSS",
    "THERMOSTAT_STUCK_OPEN",
    "OIL_LOSS",
    "BRAKE_PADS_WORN",
    "WEAK_CELL",
    "MODEM_LOSS",
    "SERVICE_MISSED",
)
"""What never breaks here: frames of twenty signals do not show it, and a modem that keeps frames for half an hour says
nothing about the age of what reaches the broker."""


class Plan(NamedTuple):
    """`duration_s` of measuring; switching on, settling and draining come on top."""

    vehicles: int
    duration_s: int
    interval_s: int = 10
    signals: int = 20
    seed: int = 1
    connections: int = 4
    on_per_s: int = DEVICES_ON_PER_S
    brokers: stack.Brokers = stack.Brokers()
    history: bool = False
    """Keep it too: a second reader of the log, which decodes and stores each frame once more."""
    workers: int = WORKERS
    """Of the twin service."""

    @property
    def system(self) -> dict[str, str]:
        """Settings of the services."""
        return {
            **SYSTEM,
            "FLEETFOLD_CLOUD__HISTORY__ENABLED": str(self.history).lower(),
            "FLEETFOLD_CLOUD__FOLD__WORKERS": str(self.workers),
        }

    @property
    def ramp_s(self) -> int:
        return max(_RAMP_S_MIN, -(-self.vehicles // self.on_per_s))

    @property
    def warm_up_s(self) -> int:
        """Before measuring begins."""
        return self.ramp_s + SETTLE_S

    @property
    def frames_per_s(self) -> float:
        """What the fleet asks for."""
        return self.vehicles / self.interval_s

    @property
    def fleet(self) -> dict[str, str]:
        """Settings of the simulator: every frame has the same number of signals, every device is on and behaves.

        One in a thousand has each of four faults, so that the detectors have something to find.
        """
        fleet = {
            "VEHICLES": self.vehicles,
            "STATIONS": 0,
            "SEED": self.seed,
            "SPEEDUP": 1,
            "INTERVAL_S": self.interval_s,
            "RAMP_S": self.ramp_s,
            "SIGNALS_PER_FRAME": self.signals,
            "SLEEPERS": 0,
            "REBOOTS_PER_DAY": 0,
            "UPDATES": 0,
            "JSON_SHARE": 0,
            "NUMBERS_SHARE": 1,
            "SAMPLES_SHARE": 0,
        }
        send = {"CONNECTIONS": self.connections, "MISBEHAVE": 0, "DRAIN_TIMEOUT_S": 120}
        faults = dict.fromkeys(_WHOLE, 0.0) | dict.fromkeys(_BROKEN, 0.001)
        sections: dict[str, Mapping[str, float]] = {"FLEET": fleet, "SEND": send, "FAULTS": faults}
        named = {f"{name}__{key}": value for name, section in sections.items() for key, value in section.items()}
        return {f"FLEETFOLD_SIM__{key}": str(value) for key, value in named.items()}

    def drive(self, truth: str) -> Program:
        """The fleet's program; ends by itself."""
        duration_s = str(self.warm_up_s + self.duration_s)
        return Program("fleet", (SIMULATOR, "run", "--duration-s", duration_s, "--truth", truth, "--json"))


def verify(truth: str) -> Program:
    """Compare every twin with what was sent."""
    return Program("verify", (SIMULATOR, "verify", "--truth", truth, "--json"))
