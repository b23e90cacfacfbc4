"""Settings of the questions: the twin service's file and environment, of which only the database matters here."""

from typing import ClassVar

from pydantic import SecretStr
from pydantic_settings import SettingsConfigDict

from runtime.settings import MongoSettings, Settings


class QuerySettings(Settings):
    """The other sections of the service's file are the service's to check."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)
    env_prefix: ClassVar[str] = "FLEETFOLD_CLOUD"

    mongo: MongoSettings = MongoSettings()


def overridden(settings: MongoSettings, uri: str | None, database: str | None) -> MongoSettings:
    """What the command line says goes before file and environment."""
    given = {"uri": SecretStr(uri) if uri else None, "database": database}
    return settings.model_copy(update={name: value for name, value in given.items() if value is not None})
