"""`/metrics` for Prometheus, `/healthz` and `/livez` for supervisors, on threads of their own."""

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from prometheus_client import CollectorRegistry, make_wsgi_app

from runtime.settings import HttpSettings

REQUEST_TIMEOUT_S: Final = 5.0
"""A client that says nothing for this long is disconnected."""
CONNECTIONS_MAX: Final = 16
"""Requests answered at the same time; further connections are closed."""
_POLL_S: Final = 0.5
"""Longest that `close` waits for the accepting thread."""


class Health(NamedTuple):
    """Whether a service does its work, with what a person needs to see why not."""

    healthy: bool
    details: dict[str, Any]


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Scrapes are not news."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread per request, a bounded number: one silent client must not make a service look dead."""

    daemon_threads = True

    def __init__(self, address: str, port: int, application: WSGIApplication) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._places = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__((address, port), _Handler)
        self.set_app(application)

    def server_bind(self) -> None:
        # not HTTPServer's: it asks the name service who we are, which blocks for seconds where there is none
        socketserver.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away or said nothing concerns nobody else."""


class HealthServer:
    """Answers until `close`; `port` is the one in use.

    `/healthz` is 200 while healthy, 503 otherwise: whether the work succeeds. `/livez` is 200 while alive, 503
    otherwise: whether a restart would help. Raises `OSError` when the address cannot be bound.
    """

    def __init__(
        self,
        settings: HttpSettings,
        registry: CollectorRegistry,
        health: Callable[[], Health],
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        metrics = make_wsgi_app(registry)

        def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/metrics":
                page: Iterable[bytes] = metrics(environ, start_response)
                return page
            checks = {"/healthz": health, "/livez": lambda: Health(alive(), {})}
            check = checks.get(environ["PATH_INFO"])
            if check is None:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/metrics, /healthz and /livez are here\n"]
            state = _judged(check)
            status = "200 OK" if state.healthy else "503 Service Unavailable"
            start_response(status, [("Content-Type", "application/json")])
            return [json.dumps({**state.details, "healthy": state.healthy}, default=str).encode()]

        self._server = _Server(settings.address, settings.port, answer)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering; does not wait for clients."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _judged(health: Callable[[], Health]) -> Health:
    try:
        return health()
    except Exception as error:  # whatever it is, the answer is: not healthy
        structlog.get_logger().exception("health check failed")
        return Health(False, {"error": type(error).__name__})
