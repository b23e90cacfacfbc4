"""Settings of the simulator: what the fleet is, what breaks, how it is sent. One table of the TOML file each."""

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import SettingsConfigDict

from runtime import settings as shared
from runtime.settings import ConfigError, KafkaSettings, MongoSettings, MqttSettings, Section, Settings
from wire.limits import MQTT_IN_FLIGHT_MESSAGES

Rate = Annotated[float, Field(ge=0.0, le=1.0)]


class FleetSection(Section):
    """How many assets, in which time, how often they report."""

    vehicles: int = Field(200, ge=0, le=1_000_000)
    stations: int = Field(20, ge=0, le=100_000)
    seed: int = Field(1, ge=0, le=2**31)
    speedup: float = Field(60.0, gt=0.0, le=1_000.0)
    interval_s: int = Field(10, ge=1, le=3_600)
    duration_s: float = Field(60.0, ge=0.0)
    """Of wall time; 0: until told to stop."""
    step_s: float = Field(1.0, ge=0.2, le=2.0)
    groups: int = Field(0, ge=0, le=3_600)
    """Devices report in so many groups, one after the other within the interval; 0: as many as it has steps. Fewer make
    accelerated time faster, since many frames at once cost little more than a few."""
    ramp_s: float = Field(0.0, ge=0.0)
    """Devices switch on spread over so much simulated time; 0: all within the first interval."""
    kept_messages_max: int = Field(500_000, ge=1)
    """What devices that have no link at some time keep until they have one, in all; each has its share, and drops the
    oldest when that is full. Half a kilobyte a message."""
    full_snapshot_s: float = Field(600.0, ge=1.0)
    signals_per_frame: int = Field(0, ge=0, le=64)
    """0: what moved beyond its deadband, as devices that save data do. Else every frame has so many signals of a
    vehicle, always the same ones of its kind of drive."""
    sleepers: Rate = 0.25
    """Share of vehicles whose telematics unit sleeps when parked long enough."""
    sleep_after_s: float = Field(900.0, ge=60.0)
    reboots_per_day: float = Field(1.0, ge=0.0, le=1_000.0)
    """How often a device restarts without being asked, each."""
    updates: Rate = 0.05
    """Share of the devices that get new firmware over the air during the run; none that has a fault."""
    updates_within_s: float = Field(1_800.0, ge=0.0)
    """From the start, in simulated time; spread evenly."""
    json_share: Rate = 0.1
    numbers_share: Rate = 0.2
    """Share of devices that send catalogue numbers instead of paths."""
    samples_share: Rate = 0.15
    """Share of vehicles that put several samples into a frame."""

    @property
    def run_s(self) -> float:
        """How long the run is, in simulated time."""
        return self.duration_s * self.speedup if self.duration_s else math.inf

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        steps = self.interval_s / self.step_s
        if abs(steps - round(steps)) > 1e-9:
            raise ValueError(f"interval_s {self.interval_s} is not a whole number of steps of {self.step_s} s")
        return self


class FaultSection(Section):
    """Shares of the fleet that break, by kind. Of the cars that can have the fault where not all can."""

    weak_low_voltage_battery: Rate = 0.02
    coolant_overheating: Rate = 0.02
    tyre_leak: Rate = 0.02
    brake_pads_worn: Rate = 0.02
    trouble_code: Rate = 0.02
    stored_code: Rate = 0.02
    """Codes without a lamp: nothing that needs a workshop."""
    tyre_puncture: Rate = 0.01
    coolant_loss: Rate = 0.01
    thermostat_stuck_open: Rate = 0.01
    oil_loss: Rate = 0.01
    weak_cell: Rate = 0.01
    """One cell of the traction battery falls behind the others."""
    connector_overheating: Rate = 0.1
    station_failure: Rate = 0.1
    isolation_loss: Rate = 0.1
    """The insulation of a DC station fades until it must stop."""
    contactor_wear: Rate = 0.05
    """Worn by switching cycles until it does not close."""
    modem_loss: Rate = 0.01
    """A car's modem dies: it is silent, and sends what it kept when the modem is replaced."""
    station_modem_loss: Rate = 0.05
    service_missed: Rate = 0.02
    """The owner has not come to the last service: the car drives on with worn-out oil."""
    from_the_start: Rate = 0.5
    """Share of the faults that are there when the run begins."""
    onset_s_max: float = Field(900.0, ge=0.0)
    """The others begin within this much simulated time."""


class QuirkSection(Section):
    """Shares of the devices that have something wrong with them (`quirks` says what each means)."""

    clock_skew: Rate = 0.0
    clock_jump: Rate = 0.0
    cut_short: Rate = 0.0
    offline: Rate = 0.0
    jitter: Rate = 0.0
    stuck_sensor: Rate = 0.0
    impossible_value: Rate = 0.0
    old_format: Rate = 0.0


class SendSection(Section):
    """How messages leave."""

    connections: int = Field(4, ge=0, le=1_000)
    """MQTT connections that share the devices; 0: one for each device, with a last will."""
    devices_with_own_connection_max: int = Field(10_000, ge=1, le=60_000)
    in_flight_messages_max: int = Field(MQTT_IN_FLIGHT_MESSAGES, ge=1, le=10_000)
    """Unacknowledged messages of one connection; fewer where the broker wants fewer."""
    tell_services: bool = False
    """Whether the services that cars have during the run are told on Kafka, as steps of their lives."""
    misbehave: Rate = 0.01
    """Share of messages that are sent twice or too late."""
    connect_timeout_s: float = Field(10.0, gt=0.0)
    drain_timeout_s: float = Field(30.0, gt=0.0)
    """How long to wait at the end for acknowledgements."""
    stop_timeout_s: float = Field(5.0, gt=0.0)
    """The same after SIGINT or SIGTERM."""
    rate_max: float = Field(600.0, gt=0.0)
    """Messages per second of a replay that is not paced by `speedup`."""

    def end_timeout_s(self, is_stopped: bool) -> float:
        """How long to wait at the end; not long when somebody wants this to stop."""
        return self.stop_timeout_s if is_stopped else self.drain_timeout_s


class SimulatorSettings(Settings):
    """All of it; environment names begin with `FLEETFOLD_SIM__`."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True)
    env_prefix: ClassVar[str] = "FLEETFOLD_SIM"

    mqtt: MqttSettings = MqttSettings()
    kafka: KafkaSettings = KafkaSettings()
    mongo: MongoSettings = MongoSettings()
    fleet: FleetSection = FleetSection()
    faults: FaultSection = FaultSection()
    quirks: QuirkSection = QuirkSection()
    send: SendSection = SendSection()


def load(file: Path | None, options: dict[str, dict[str, Any]]) -> SimulatorSettings:
    """File and environment, then `options` (section → key → value from the command line; None: not given).

    Raises `ConfigError` with every fault.
    """
    settings = shared.load(SimulatorSettings, file)
    sections: dict[str, Section] = {}
    faults: list[str] = []
    for name, given in options.items():
        section = getattr(settings, name)
        values = {**_given(section), **{key: value for key, value in given.items() if value is not None}}
        try:
            sections[name] = type(section).model_validate(values)
        except ValidationError as error:
            faults += [f"{name}.{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
    if faults:
        raise ConfigError(faults)
    return settings.model_copy(update=sections)


def read_faults(file: Path) -> dict[str, Any]:
    """What breaks how often, from a file of its own (`simulator/faults.toml` is one with the defaults).

    Raises `ConfigError`; the values are checked by `load`.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError([f"{file}: {error}"]) from error


def _given(section: Section) -> dict[str, Any]:
    return {key: getattr(section, key) for key in section.model_fields_set}
