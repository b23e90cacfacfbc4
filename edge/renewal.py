"""New certificates, keys and passwords for the Kafka client, whose library reads them only when it is made.

(The MQTT side reads its files for each connection.)
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from edge.config import EdgeKafkaSettings
from runtime import tls


class Renewable(Protocol):
    """The Kafka client."""

    def renew(self, settings: EdgeKafkaSettings) -> None:
        """Take over these settings, and their files as they are now. Raises what the client thinks of them."""


class Renewal:
    """The first of `clients` judges; `post` lets the thread that owns it do something. The others follow it."""

    def __init__(
        self,
        clients: Sequence[Renewable],
        settings: EdgeKafkaSettings,
        post: Callable[[Callable[[], object]], None],
    ) -> None:
        self._clients = clients
        self._settings = settings
        self._post = post
        self._used = tls.stamps(settings.secret_files)
        self._log = structlog.get_logger("edge.renewal")

    def check(self) -> None:
        """Renew the client when a file has changed since it was last made; callable from any thread."""
        found = tls.stamps(self._settings.secret_files)
        if found != self._used:
            self._post(lambda: self._renew(self._settings, found))

    def use(self, settings: EdgeKafkaSettings, done: Callable[[bool], object]) -> None:
        """Renew the client with other settings, and say whether it takes them; callable from any thread."""
        found = tls.stamps(settings.secret_files)
        self._post(lambda: done(self._renew(settings, found)))

    def _renew(self, settings: EdgeKafkaSettings, found: dict[Path, tls.Stamp | None]) -> bool:
        try:
            for client in self._clients:
                client.renew(settings)
        except Exception as error:  # half of a renewal, or a wrong one: the old client goes on
            self._log.error("kafka_settings_unusable", error=str(error), advice="the old ones stay; tried again")
            return False
        self._settings, self._used = settings, found
        return True
