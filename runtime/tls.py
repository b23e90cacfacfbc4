"""Certificates and keys in files: whether they can be used, until when, and what a connection needs of them."""

import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple


class TlsError(ValueError):
    """A certificate, key or authority that cannot be used; the text names the file and never shows its content."""


class Stamp(NamedTuple):
    """Tells one version of a file from the next, also when it was renamed into place."""

    inode: int
    modified_ns: int
    size_bytes: int


def client_context(ca_file: Path | None, certificate_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    """For a connection to a server that is verified, host name and all. Reads the files anew. Raises TlsError.

    Without `ca_file` the system's authorities count.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is None:
        context.load_default_certs()
    else:
        load_authorities(context, ca_file)
    if certificate_file is not None and key_file is not None:
        load_pair(context, certificate_file, key_file)
    return context


def load_authorities(context: ssl.SSLContext, ca_file: Path) -> None:
    """Trust whoever these certified. Raises TlsError."""
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise TlsError(f"{ca_file} holds no certificates in PEM form") from error
    except OSError as error:
        raise TlsError(f"{ca_file} cannot be read: {error.strerror}") from error


def load_pair(context: ssl.SSLContext, certificate_file: Path, key_file: Path) -> None:
    """Show this certificate to who asks. Raises TlsError."""
    try:
        # a key with a passphrase would ask for it on the terminal: an agent has none, and nobody to type it
        context.load_cert_chain(certificate_file, key_file, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsError(f"{key_file} does not belong to certificate {certificate_file}") from error
        raise TlsError(f"{key_file} is not a key in PEM form without a passphrase") from error
    except OSError as error:
        raise TlsError(f"{key_file} or {certificate_file} cannot be read: {error.strerror}") from error


def certificate(file: Path) -> dict[str, Any]:
    """The first certificate of a PEM file, as `SSLSocket.getpeercert` gives it. Raises TlsError."""
    decode = ssl._ssl._test_decode_cert  # type: ignore[attr-defined] # noqa: SLF001 - nothing public decodes one
    try:
        decoded: dict[str, Any] = decode(str(file))
    except (ssl.SSLError, OSError) as error:
        raise TlsError(f"{file} holds no certificate in PEM form") from error
    return decoded


def stamps(files: Iterable[Path]) -> dict[Path, Stamp | None]:
    """Of each file; None while it is not there."""
    return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> Stamp | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return Stamp(found.st_ino, found.st_mtime_ns, found.st_size)
