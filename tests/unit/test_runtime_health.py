"""The health endpoint, asked over real sockets."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry, Counter

from runtime import health
from runtime.health import Health, HealthServer
from runtime.settings import HttpSettings


@pytest.fixture
def registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("frames", "Frames.", registry=registry).inc(3)
    return registry


@pytest.fixture
def serve(registry) -> Iterator[Callable[..., HealthServer]]:
    servers: list[HealthServer] = []

    def start(judge: Callable[[], Health] = lambda: Health(True, {}), **given: object) -> HealthServer:
        servers.append(HealthServer(HttpSettings(**given), registry, judge))  # type: ignore[arg-type] # test input
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def get(port: int, path: str, method: str = "GET", address: str = "127.0.0.1") -> tuple[int, str, str]:
    """Status, content type and body."""
    connection = http.client.HTTPConnection(address, port, timeout=20)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read().decode()
    finally:
        connection.close()


def test_a_healthy_service_answers_200_with_its_details(serve):
    status, kind, body = get(
        serve(lambda: Health(True, {"lag": 5, "at": datetime(2024, 1, 1, tzinfo=UTC)})).port, "/healthz"
    )
    assert (status, kind) == (200, "application/json")
    assert json.loads(body) == {"healthy": True, "lag": 5, "at": "2024-01-01 00:00:00+00:00"}


def test_an_unhealthy_service_answers_503_and_says_why(serve):
    status, _, body = get(serve(lambda: Health(False, {"kafka": "away"})).port, "/healthz")
    assert status == 503
    assert json.loads(body) == {"healthy": False, "kafka": "away"}


def test_details_cannot_hide_the_verdict(serve):
    assert json.loads(get(serve(lambda: Health(False, {"healthy": True})).port, "/healthz")[2]) == {"healthy": False}


def test_a_check_that_fails_is_not_healthy(serve, capsys):
    def broken() -> Health:
        raise ZeroDivisionError("secret detail")

    status, _, body = get(serve(broken).port, "/healthz")
    assert status == 503
    assert json.loads(body) == {"healthy": False, "error": "ZeroDivisionError"}


def test_metrics_are_in_prometheus_form(serve):
    status, kind, body = get(serve().port, "/metrics")
    assert status == 200
    assert kind.startswith("text/plain")
    assert "frames_total 3.0" in body


@pytest.mark.parametrize("path", ["/", "/health", "/healthz/", "/metrics/../etc/passwd", "/%00"])
def test_elsewhere_is_404_and_says_what_is_here(serve, path):
    status, _, body = get(serve().port, path)
    assert status == 404
    assert body == "/metrics, /healthz and /livez are here\n"


def test_a_query_does_not_matter(serve):
    assert get(serve().port, "/healthz?verbose=1")[0] == 200


def test_it_answers_on_loopback_only_unless_told_otherwise(serve):
    assert HttpSettings().address == "127.0.0.1"
    assert get(serve().port, "/healthz")[0] == 200


def test_it_answers_on_ipv6(serve):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert get(serve(address="::1").port, "/healthz", address="::1")[0] == 200


def test_a_taken_port_is_an_error_at_the_start(serve):
    taken = serve().port
    with pytest.raises(OSError, match="in use"):
        serve(port=taken)


def test_a_silent_client_delays_nobody(serve):
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port)), socket.create_connection(("127.0.0.1", server.port)):
        begun = time.monotonic()
        assert get(server.port, "/healthz")[0] == 200
        assert time.monotonic() - begun < health.REQUEST_TIMEOUT_S / 2


def test_a_silent_client_is_disconnected(serve, monkeypatch):
    monkeypatch.setattr(health._Handler, "timeout", 0.2)
    with socket.create_connection(("127.0.0.1", serve().port), timeout=20) as silent:
        assert silent.recv(1) == b""


def test_connections_beyond_the_limit_are_closed_and_room_comes_back(serve):
    port = serve().port
    silent = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(health.CONNECTIONS_MAX)]
    try:
        time.sleep(0.3)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as refused:
            assert refused.recv(1) == b""
    finally:
        for connection in silent:
            connection.close()
    for _ in range(100):
        try:
            assert get(port, "/healthz")[0] == 200
            return
        except (ConnectionError, http.client.RemoteDisconnected):
            time.sleep(0.05)
    pytest.fail("no room came back")


@pytest.mark.parametrize("bytes_", [b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000])
def test_nonsense_does_not_stop_it(serve, bytes_, capfd):
    port = serve().port
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(bytes_)
        client.shutdown(socket.SHUT_WR)
        try:
            while client.recv(65_536):
                pass
        except ConnectionError:
            pass
    assert get(port, "/healthz")[0] == 200
    assert capfd.readouterr().err == ""


def test_closing_is_prompt_even_with_a_client_connected_and_frees_the_port(registry):
    server = HealthServer(HttpSettings(), registry, lambda: Health(True, {}))
    with socket.create_connection(("127.0.0.1", server.port)):
        time.sleep(0.1)
        begun = time.monotonic()
        server.close()
        assert time.monotonic() - begun < 3
    with pytest.raises(ConnectionError):
        get(server.port, "/healthz")
    assert "health" not in [thread.name for thread in threading.enumerate()]
    server.close()  # once more changes nothing


def test_as_a_context_it_closes_itself(registry):
    with HealthServer(HttpSettings(), registry, lambda: Health(True, {})) as server:
        assert get(server.port, "/healthz")[0] == 200
    with pytest.raises(ConnectionError):
        get(server.port, "/healthz")
