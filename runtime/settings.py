"""Settings: defaults, then one TOML file, then the environment; all faults are reported at once, by key.

Environment names are `<PREFIX>__SECTION__KEY` in upper case. `MQTT_URL`, `KAFKA_BOOTSTRAP_SERVERS` and
`MONGODB_URI` are understood by every process that talks to that server and rank between file and prefix.
"""

import os
import re
import ssl
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings as _BaseSettings
from pydantic_settings import InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from runtime import environment, tls


class ConfigError(Exception):
    """Every fault of a configuration; `faults` has one line each, beginning with the key."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Section(BaseModel):
    """A table of the TOML file. Unknown keys are faults: a misspelt limit must not be a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def read_secret(file: Path) -> str:
    """The password in a file, without the line end behind it. Raises ValueError, which never shows it."""
    try:
        secret = file.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8") from None
    if not secret:
        raise ValueError(f"{file} is empty")
    return secret


def _readable_secret(file: Path | None) -> Path | None:
    if file is not None:
        read_secret(file)
    return file


SecretFile = Annotated[FilePath | None, AfterValidator(_readable_secret)]
"""A password by path. It is read when a connection needs it, so that a new one counts without a restart."""


class TlsFiles(Section):
    """Certificates by path; nothing secret is ever a value in the file. Each is looked into before the start."""

    ca_file: FilePath | None = None
    certificate_file: FilePath | None = None
    key_file: FilePath | None = None

    @field_validator("ca_file")
    @classmethod
    def _authorities(cls, file: Path | None) -> Path | None:
        if file is not None:
            tls.load_authorities(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), file)
        return file

    @field_validator("certificate_file")
    @classmethod
    def _certificate(cls, file: Path | None) -> Path | None:
        if file is not None:
            tls.certificate(file)
        return file

    @field_validator("key_file")
    @classmethod
    def _key(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        certificate_file = info.data.get("certificate_file")
        if file is not None and certificate_file is not None:
            tls.load_pair(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate_file, file)
        return file

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        return self

    def tls_context(self) -> ssl.SSLContext:
        """For a new connection, with the files as they are now. Raises tls.TlsError."""
        return tls.client_context(self.ca_file, self.certificate_file, self.key_file)

    @property
    def secret_files(self) -> tuple[Path, ...]:
        """Every file whose content a connection depends on: certificates, keys, passwords."""
        return tuple(value for name, value in self if name.endswith("_file") and value is not None)

    def _refuse_files_without_tls(self, how: str) -> None:
        """Files that would not be used: someone believes that this connection is encrypted."""
        if self.ca_file is not None or self.certificate_file is not None:
            raise ValueError(f"ca_file, certificate_file and key_file are used with {how} only")


class KafkaSettings(TlsFiles):
    """How to reach Kafka."""

    bootstrap_servers: str = Field("127.0.0.1:9092", min_length=1)
    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    sasl_username: str | None = None
    sasl_password_file: SecretFile = None

    @model_validator(mode="after")
    def _sasl(self) -> Self:
        if not self.security_protocol.endswith("ssl"):
            self._refuse_files_without_tls("security_protocol ssl or sasl_ssl")
        if self.security_protocol.startswith("sasl") and not (self.sasl_username and self.sasl_password_file):
            raise ValueError("security_protocol sasl_* needs sasl_username and sasl_password_file")
        return self

    def client(self) -> dict[str, Any]:
        """librdkafka settings of the connection, with the password as it is now. Raises ValueError without one."""
        settings: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol,
        }
        if self.security_protocol.startswith("sasl") and self.sasl_password_file is not None:
            settings["sasl.mechanism"] = self.sasl_mechanism
            settings["sasl.username"] = self.sasl_username
            settings["sasl.password"] = read_secret(self.sasl_password_file)
        if self.ca_file is not None:
            settings["ssl.ca.location"] = str(self.ca_file)
        if self.certificate_file is not None and self.key_file is not None:
            settings["ssl.certificate.location"] = str(self.certificate_file)
            settings["ssl.key.location"] = str(self.key_file)
        return settings


class MongoSettings(Section):
    """How to reach MongoDB. The URI may hold credentials, so it is never printed."""

    uri: SecretStr = SecretStr("mongodb://127.0.0.1:27017/?replicaSet=rs0")
    database: str = Field("fleetfold", min_length=1, max_length=63)
    timeout_ms: int = Field(30_000, ge=100)


_MQTT_URL: Final = re.compile(r"mqtts?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?/?")


class MqttSettings(TlsFiles):
    """How to reach an MQTT broker: `mqtt://` or `mqtts://` host and port, no credentials in the URL.

    Without a port: 1883, or 8883 with TLS. An IPv6 address stands in brackets.
    """

    url: str = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password_file: SecretFile = None
    keepalive_s: int = Field(30, ge=1, le=65_535)

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        match = _MQTT_URL.fullmatch(url)
        if match is None or not 0 < int(match[2] or 1) <= 65_535:
            raise ValueError("expected mqtt://host[:port] or mqtts://host[:port], without user or path")
        return url

    @model_validator(mode="after")
    def _files_are_used(self) -> Self:
        if not self.tls:
            self._refuse_files_without_tls("mqtts://")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs username")
        return self

    @property
    def host(self) -> str:
        """Name or address, without the brackets of an IPv6 address."""
        return self._parts[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self._parts[1] or (8883 if self.tls else 1883))

    @property
    def _parts(self) -> tuple[str, str | None]:
        match = _MQTT_URL.fullmatch(self.url)
        assert match is not None  # validated above
        return match[1], match[2]

    @property
    def tls(self) -> bool:
        return self.url.startswith("mqtts://")


class HttpSettings(Section):
    """Where /metrics and /healthz answer: loopback unless told otherwise. Port 0 picks a free one."""

    address: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65_535)
    enabled: bool = True


class LogSettings(Section):
    """What is logged, and how: `auto` is `console` on a terminal and `json` elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class Settings(_BaseSettings):
    """Base of each service's settings; subclasses set `env_prefix` and their sections."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    env_prefix: ClassVar[str] = "FLEETFOLD"

    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[_BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class fixes the signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - see above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - see above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """First wins: prefixed environment, well-known environment, the file's values (given as arguments)."""
        prefixed = environment.prefixed(cls.env_prefix, os.environ)
        known = environment.well_known(settings_cls.model_fields, os.environ)
        return (
            InitSettingsSource(settings_cls, init_kwargs=prefixed),
            InitSettingsSource(settings_cls, init_kwargs=known),
            init_settings,
        )


S = TypeVar("S", bound=Settings)


def load(settings: type[S], file: Path | None) -> S:
    """Read settings; raises `ConfigError` with every fault.

    No cause is chained: a traceback would print values, and a value may hold a password in the wrong place.
    """
    values = {} if file is None else _table(file)
    # names with an underscore in front would reach arguments of the base class instead of fields
    faults = [f"{key}: unknown key" for key in values if key.startswith("_")]
    try:
        read = settings(**{key: value for key, value in values.items() if not key.startswith("_")})
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        raise ConfigError(faults + [_fault(settings.env_prefix, detail) for detail in details]) from None
    if faults:
        raise ConfigError(faults)
    return read


def _table(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{file}: cannot be read: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"{file}: not TOML: {error}"]) from None


def _fault(prefix: str, detail: ErrorDetails) -> str:
    path = tuple(str(part) for part in detail["loc"])
    variable = environment.origin(prefix, path, os.environ)
    message = "unknown key" if detail["type"] == "extra_forbidden" else detail["msg"].removeprefix("Value error, ")
    return f"{'.'.join(path) or '(file)'}: {message}" + (f" (from {variable})" if variable else "")
