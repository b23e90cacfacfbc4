"""Apache Kafka 4 in KRaft mode on the JVM: one process that is broker and controller, and survives kill -9."""

import base64
import uuid
from pathlib import Path
from typing import ClassVar, Final

from local import ports, processes
from local.servers import apache_kafka_jars, kafka
from local.servers.base import Server, ServerError

_HEAP: Final = "-Xmx512m"
_FORMAT_LIMIT_S: Final = 60.0

_PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
# a killed broker may come back once its old session ended: the default of 9 s makes a restart slow
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
# with the next-generation protocol the broker decides how long a killed worker keeps its partitions: 45 s by default
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=2000
group.consumer.heartbeat.interval.ms=2000
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


class ApacheKafka(Server):
    """Topics and offsets survive `kill` and `start`. The first start on a machine fetches the jars."""

    name = "apache-kafka"
    start_limit_s: ClassVar[float] = 60.0

    def __init__(self, owner: processes.Processes, directory: Path, port: int | None = None) -> None:
        super().__init__(owner, directory, port)
        self._controller_port = ports.free_port()

    @property
    def url(self) -> str:
        return f"{ports.HOST}:{self.port}"

    @property
    def _properties(self) -> Path:
        return self.directory / "server.properties"

    @property
    def _logging(self) -> Path:
        return self.directory / "log4j2.properties"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def properties(self) -> str:
        """The broker's settings; of a key that stands there twice the later counts."""
        return _PROPERTIES.format(
            host=ports.HOST, port=self.port, controller_port=self._controller_port, data=self._data.absolute()
        )

    def prepare(self) -> None:
        self._properties.write_text(self.properties())
        self._logging.write_text(apache_kafka_jars.packaged("log4j2.properties"))
        if not (self._data / "meta.properties").exists():
            self._format()

    def _format(self) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # one word: an id may begin with a dash
        named = f"--cluster-id={cluster_id}"
        storage_tool = ["kafka.tools.StorageTool", "format", named, "-c", str(self._properties)]
        child = self._owner.start("apache-kafka-format", [*self._java(), *storage_tool], self.log_file)
        if child.wait(_FORMAT_LIMIT_S) != 0:
            child.kill()
            raise ServerError(f"Kafka's storage cannot be formatted; {child.log_file}:\n{child.last_lines()}")

    def command(self) -> list[str]:
        return [*self._java(), "kafka.Kafka", str(self._properties)]

    def answers(self) -> bool:
        return kafka.answers(self.url)

    def _java(self) -> list[str]:
        # The serial collector starts fast and leaves the cores to others.
        options = [_HEAP, "-XX:+UseSerialGC", f"-Dlog4j2.configurationFile={self._logging.absolute()}"]
        return [apache_kafka_jars.java(), *options, "-cp", f"{apache_kafka_jars.directory(self._owner)}/*"]
