"""Certificates by their dates, and keys by who may read them."""

import ssl
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from edge.doctor import findings
from edge.doctor.findings import Finding
from runtime import tls
from runtime.settings import TlsFiles

_DAY_S: Final = 86_400.0
_SOON_DAYS: Final = 30


def check(side: str, settings: TlsFiles) -> Iterator[Finding]:
    """Our certificate, and every file with a secret in it."""
    if settings.certificate_file is not None:
        try:
            found = tls.certificate(settings.certificate_file)
        except tls.TlsError as error:
            yield findings.failed(f"{side} our certificate", str(error), "put a certificate in PEM form there")
        else:
            yield judge(f"{side} our certificate", found, time.time())
    for file in settings.secret_files:
        if file not in (settings.ca_file, settings.certificate_file) and _others_may_read(file):
            yield findings.warning(f"{side} secrets", f"{file} can be read by others", f"chmod o= {file}")


def _others_may_read(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def judge(check: str, certificate: Mapping[str, Any], now_s: float) -> Finding:
    """A certificate as `SSLSocket.getpeercert` gives it."""
    begins_s = ssl.cert_time_to_seconds(certificate["notBefore"])
    ends_s = ssl.cert_time_to_seconds(certificate["notAfter"])
    days = (ends_s - now_s) / _DAY_S
    detail = f"{_name(certificate)}, until {certificate['notAfter']}"
    if now_s < begins_s:
        return findings.failed(check, f"{detail}, not valid before {certificate['notBefore']}", "is the clock right?")
    if days < 0:
        return findings.failed(check, f"{detail}: expired", "renew it; a running agent takes over the new file")
    if days < _SOON_DAYS:
        return findings.warning(check, f"{detail}: {days:.0f} days left", "renew it before it ends")
    return findings.ok(check, detail)


def _name(certificate: Mapping[str, Any]) -> str:
    names = {key: value for part in certificate.get("subject", ()) for key, value in part}
    return str(names.get("commonName", "certificate"))
