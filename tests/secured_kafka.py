"""Apache Kafka with TLS, SASL, client certificates and access rules, as an operator would run it."""

from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from local import ports
from local.processes import Processes
from local.servers.apache_kafka import ApacheKafka
from tests.certificates import Authority

USER = "edge"
PLAIN_PASSWORD = "plain-password"
_SECURED = """
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller},SASL://{host}:{sasl},MTLS://{host}:{mtls}
advertised.listeners=PLAINTEXT://{host}:{port},SASL://{host}:{sasl},MTLS://{host}:{mtls}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MTLS:SSL
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
listener.name.mtls.ssl.client.auth=required
listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


class SecuredKafka(ApacheKafka):
    """`url` is open and all-powerful; `sasl` and `mtls` know users, who may do what `allow` lets them."""

    name = "secured-kafka"

    def __init__(self, owner: Processes, directory: Path, authority: Authority) -> None:
        super().__init__(owner, directory)
        self._authority = authority
        self._sasl_port, self._mtls_port = ports.free_port(), ports.free_port()

    @property
    def sasl(self) -> str:
        return f"{ports.HOST}:{self._sasl_port}"

    @property
    def mtls(self) -> str:
        return f"{ports.HOST}:{self._mtls_port}"

    def properties(self) -> str:
        self._authority.issue("kafka")
        keystore = self.directory / "keystore.pem"
        parts = (self._authority.key("kafka"), self._authority.certificate("kafka"))
        keystore.write_text("".join(part.read_text() for part in parts))
        return super().properties() + _SECURED.format(
            host=ports.HOST, port=self.port, controller=self._controller_port, sasl=self._sasl_port,
            mtls=self._mtls_port, keystore=keystore, ca=self._authority.ca, user=USER, password=PLAIN_PASSWORD,
        )  # fmt: skip

    @property
    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.url, "log_level": 0})

    def set_scram_password(self, password: str) -> None:
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(USER, info, password.encode())
        admin = self._admin
        for future in admin.alter_user_scram_credentials([change]).values():
            future.result(20)

    def allow(self, principal: str, *topics: str, operation: AclOperation = AclOperation.WRITE) -> None:
        """Let `User:<name>` write to topics, or do another thing."""
        rules = [
            AclBinding(
                ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, principal, "*",
                operation, AclPermissionType.ALLOW,
            )
            for topic in topics
        ]  # fmt: skip
        admin = self._admin
        for future in admin.create_acls(rules).values():
            future.result(20)
