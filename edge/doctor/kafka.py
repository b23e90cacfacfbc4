"""Whether Kafka lets us in, and whether each topic is there and may be written. Nothing is produced."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._topic import TopicDescription

from edge.doctor import findings
from edge.doctor.findings import Finding
from runtime.settings import KafkaSettings
from wire import topics

_LIMIT_S: Final = 10.0
TOPICS: Final = (
    *topics.KAFKA_TOPIC_OF.values(),
    *(topics.dead_letter_topic(topic) for topic in topics.KAFKA_TOPIC_OF.values()),
)
"""What the agent writes to."""
_RULES_NEED: Final = {
    topics.GATEWAY_RULES: AclOperation.READ,
    topics.GATEWAY_RULES_STATUS: AclOperation.WRITE,
}
_REFUSED: Final = {"_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "_SSL", "CLUSTER_AUTHORIZATION_FAILED"}


class _Listener:
    """Remembers why the client cannot connect: calls fail only with a time-out, and a login refusal comes here."""

    def __init__(self) -> None:
        self.errors: list[KafkaError] = []

    def __call__(self, error: KafkaError) -> None:
        self.errors.append(error)

    def worst(self) -> KafkaError | None:
        """A refusal, if there was one, else the first error."""
        refusals = [error for error in self.errors if error.name() in _REFUSED]
        return next(iter([*refusals, *self.errors]), None)


def check(settings: KafkaSettings, with_rules: bool = False) -> Iterator[Finding]:
    """Login and topics, `with_rules` those of collection rules too; one of the servers is known to be reachable."""
    listener = _Listener()
    try:
        options: dict[str, Any] = {
            **settings.client(),
            "client.id": "fleetfold-doctor",
            "error_cb": listener,
            "log_level": 0,
            "socket.timeout.ms": int(_LIMIT_S * 1000),
        }
        admin = AdminClient(options)
        cluster = _until(lambda: admin.list_topics(timeout=1.0), listener, admin)
    except (KafkaException, ValueError) as error:
        yield _refused(settings, listener.worst(), error)
        return
    who = f"as {settings.sasl_username}" if settings.security_protocol.startswith("sasl") else "without SASL"
    yield findings.ok("kafka login", f"{who}, {settings.security_protocol}: {len(cluster.brokers)} brokers")
    needs = dict.fromkeys(TOPICS, AclOperation.WRITE) | (_RULES_NEED if with_rules else {})
    described = admin.describe_topics(
        TopicCollection(list(needs)), include_authorized_operations=True, request_timeout=_LIMIT_S
    )
    for topic, future in described.items():
        try:
            yield judge(topic, future.result(), needs[topic])
        except KafkaException as error:
            yield _no_topic(topic, error.args[0])


def _until(ask: Callable[[], Any], listener: _Listener, admin: AdminClient) -> Any:
    """Ask until there is an answer, a refusal, or no time left."""
    for attempt in range(int(_LIMIT_S)):
        try:
            return ask()
        except KafkaException:
            admin.poll(0)
            refused = any(error.name() in _REFUSED for error in listener.errors)
            if refused or attempt == int(_LIMIT_S) - 1:
                raise
    return None


def _refused(settings: KafkaSettings, heard: KafkaError | None, error: Exception) -> Finding:
    if heard is not None and heard.name() in _REFUSED:
        is_sasl = settings.security_protocol.startswith("sasl")
        which = "sasl_username, sasl_password_file and sasl_mechanism" if is_sasl else "certificate_file and ca_file"
        return findings.failed("kafka login", heard.str(), f"check {which}")
    detail = heard.str() if heard is not None else str(error)
    return findings.unreachable(
        "kafka login", detail, "check security_protocol, and that advertised listeners resolve here"
    )


def judge(topic: str, description: TopicDescription, needed: AclOperation) -> Finding:
    """A topic that is there: may it be written, or read, as needed?"""
    name = f"kafka topic {topic}"
    partitions = f"{len(description.partitions)} partitions"
    if any(partition.leader is None or partition.leader.id < 0 for partition in description.partitions):
        return findings.warning(name, f"{partitions}, some without a leader", "is a broker of the cluster down?")
    allowed = description.authorized_operations
    if not allowed:
        return findings.skipped(name, f"{partitions}; the broker does not say what we may do with it")
    if needed not in allowed and AclOperation.ALL not in allowed:
        return findings.failed(name, f"{partitions}, no {needed.name}", f"allow {needed.name} on {topic} for this user")
    return findings.ok(name, f"{partitions}, {needed.name} allowed")


def _no_topic(topic: str, error: KafkaError) -> Finding:
    name = f"kafka topic {topic}"
    if error.name() == "UNKNOWN_TOPIC_OR_PART":
        return findings.failed(name, "not there, or not visible to us", "fleetfold-cloud topics create, and its ACL")
    if error.name() == "TOPIC_AUTHORIZATION_FAILED":
        return findings.failed(name, "not permitted", f"allow DESCRIBE and WRITE on {topic} for this user")
    return findings.skipped(name, f"cannot be described: {error.str()}")
