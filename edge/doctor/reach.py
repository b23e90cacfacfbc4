"""A name, a port and TLS: the way to another machine, step by step, so that the failing step is named."""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from edge.doctor import certificates, findings
from edge.doctor.findings import Finding
from runtime import tls
from runtime.settings import TlsFiles

LIMIT_S: Final = 5.0
"""For each step."""


class Address(NamedTuple):
    """Where a server should be."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def check(side: str, address: Address, files: TlsFiles | None) -> Iterator[Finding]:
    """Name, port and, with `files`, TLS. The last finding says whether the way is clear."""
    try:
        # one blocking call without a limit of its own: the resolver's, some 10 s, holds
        socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        yield findings.unreachable(
            f"{side} name", f"{address.host}: {error.strerror or error}", "check the name and DNS"
        )
        return
    started = time.perf_counter()
    try:
        connection = socket.create_connection(address, LIMIT_S)
    except OSError as error:
        why = f"{address}: {error.strerror or error}"
        yield findings.unreachable(
            f"{side} port", why, "is it running there, and does a firewall let this gateway pass?"
        )
        return
    with connection:
        yield findings.ok(f"{side} port", f"{address} answers in {(time.perf_counter() - started) * 1000:.0f} ms")
        if files is not None:
            yield from _tls(side, address, connection, files)


def _tls(side: str, address: Address, connection: socket.socket, files: TlsFiles) -> Iterator[Finding]:
    name = f"{side} TLS"
    try:
        with files.tls_context().wrap_socket(connection, server_hostname=address.host) as secured:
            with contextlib.suppress(TimeoutError):  # TLS 1.3: a refused client certificate shows at the first read
                secured.settimeout(0.2)
                secured.recv(0)
            shown = secured.getpeercert() or {}
            yield certificates.judge(f"{side} server certificate", shown, time.time())
            yield findings.ok(name, f"{secured.version()}, {(secured.cipher() or ('?',))[0]}")
    except tls.TlsError as error:
        yield findings.failed(name, str(error), "check the files of this side in the configuration")
    except ssl.SSLCertVerificationError as error:
        yield findings.failed(name, f"{address}: {error.verify_message}", _advice(error))
    except OSError as error:
        why = getattr(error, "reason", None) or error.strerror or str(error)
        yield findings.failed(
            name, f"{address}: {why}", "does the port speak TLS, and does the server know our certificate's authority?"
        )


def _advice(error: ssl.SSLCertVerificationError) -> str:
    message = error.verify_message.lower()
    if "hostname" in message or "ip address" in message:
        return "use the name that stands in the server's certificate"
    if "expired" in message or "not yet valid" in message:
        return "is the clock right? else the server needs a new certificate"
    return "set ca_file to the authority that issued the server's certificate"
