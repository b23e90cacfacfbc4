"""`/metrics` for Prometheus and `/healthz` for supervisors, on a thread of their own."""

import json
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, NamedTuple, Self
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from runtime.settings import HttpSettings


class Health(NamedTuple):
    """Whether a service does its work, with what a person needs to see why not."""

    healthy: bool
    details: dict[str, Any]


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Scrapes are not news."""


class HealthServer:
    """Answers until `close`; `port` is the one in use. 200 while healthy, 503 otherwise."""

    def __init__(self, settings: HttpSettings, registry: CollectorRegistry, health: Callable[[], Health]) -> None:
        metrics = make_wsgi_app(registry)

        def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/metrics":
                page: Iterable[bytes] = metrics(environ, start_response)
                return page
            if environ["PATH_INFO"] != "/healthz":
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/metrics and /healthz are here\n"]
            state = health()
            status = "200 OK" if state.healthy else "503 Service Unavailable"
            start_response(status, [("Content-Type", "application/json")])
            return [json.dumps({"healthy": state.healthy, **state.details}).encode()]

        self._server = make_server(settings.address, settings.port, answer, handler_class=_QuietHandler)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
