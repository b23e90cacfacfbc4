"""Kafka Connect's MongoDB sink connector, set up as well as we know: the other way from Kafka to MongoDB.

Its records are BSON already (its cheapest converter), replaced by `_id` in unordered bulks as large as a poll, which
is 1,000 records as for the fold, by as many tasks as there are cores. It drops no duplicates, folds nothing, keeps no
newest value per signal, and has no place for what a crash repeats.
"""

import json
import os
import urllib.request
from pathlib import Path
from typing import ClassVar, Final

from local import processes
from local.servers import apache_kafka_jars
from local.servers.base import Server

_WORKER: Final = """\
bootstrap.servers={bootstrap_servers}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.converters.ByteArrayConverter
offset.storage.file.filename={directory}/offsets
offset.flush.interval.ms=5000
listeners=http://127.0.0.1:{port}
plugin.discovery=only_scan
connector.client.config.override.policy=All
"""
_SINK: Final = """\
name=sink
connector.class=com.mongodb.kafka.connect.MongoSinkConnector
tasks.max={tasks}
topics={topic}
connection.uri={uri}
database={database}
collection=sink
document.id.strategy=com.mongodb.kafka.connect.sink.processor.id.strategy.ProvidedInValueStrategy
writemodel.strategy=com.mongodb.kafka.connect.sink.writemodel.strategy.ReplaceOneDefaultStrategy
bulk.write.ordered=false
max.batch.size=0
consumer.override.max.poll.records=1000
consumer.override.auto.offset.reset=earliest
"""


class Connect(Server):
    """A standalone worker with the sink connector; writes to `collection` sink of `database`."""

    name = "kafka-connect"
    start_limit_s: ClassVar[float] = 60.0

    def __init__(
        self, owner: processes.Processes, directory: Path, bootstrap_servers: str, uri: str, database: str, topic: str
    ) -> None:
        super().__init__(owner, directory)
        self._told = {"bootstrap_servers": bootstrap_servers, "database": database, "topic": topic}
        self._uri = uri

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        told = {
            **self._told,
            "uri": f"{self._uri}&w=majority",
            "directory": str(self.directory.absolute()),
            "port": self.port,
            "tasks": os.cpu_count() or 1,
        }
        for name, text in (("worker", _WORKER), ("sink", _SINK)):
            (self.directory / f"{name}.properties").write_text(text.format_map(told))
        (self.directory / "log4j2.properties").write_text(apache_kafka_jars.packaged("log4j2.properties"))

    def command(self) -> list[str]:
        files = [str(self.directory / f"{name}.properties") for name in ("worker", "sink")]
        pom = Path(__file__).with_name("connect_pom.xml").read_text(encoding="utf-8")
        jars = apache_kafka_jars.fetched(self._owner, pom, "kafka-connect-mongodb-2.0.1")
        logging = f"-Dlog4j2.configurationFile={(self.directory / 'log4j2.properties').absolute()}"
        options = ["-Xmx1g", "-XX:+UseParallelGC", logging]
        main = "org.apache.kafka.connect.cli.ConnectStandalone"
        return [apache_kafka_jars.java(), *options, "-cp", f"{jars}/*", main, *files]

    def answers(self) -> bool:
        """Whether every task runs."""
        try:
            with urllib.request.urlopen(f"{self.url}/connectors/sink/status", timeout=2) as answer:  # noqa: S310 - our own worker
                status = json.load(answer)
        except OSError:
            return False
        return bool(status["tasks"]) and all(task["state"] == "RUNNING" for task in status["tasks"])
