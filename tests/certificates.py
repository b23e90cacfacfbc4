"""A certificate authority for tests, by the openssl program."""

import shutil
import subprocess
from pathlib import Path

import pytest

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """Issues certificates into `directory`: `<name>.pem` with its `<name>.key`, trusted by way of `ca.pem`."""

    def __init__(self, directory: Path) -> None:
        program = shutil.which("openssl")
        if program is None:
            pytest.skip("needs the openssl program to make certificates")
        self.directory = directory
        self._program = program
        subject = ("-subj", "/CN=fleetfold-test-ca")
        self._openssl("req", "-x509", *_NEW_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", *subject)

    def _openssl(self, *words: str) -> None:
        command = [self._program, *words]
        subprocess.run(command, cwd=self.directory, check=True, capture_output=True, timeout=60)

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    def certificate(self, name: str) -> Path:
        return self.directory / f"{name}.pem"

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    def issue(self, name: str, common_name: str = "", days: int = 2) -> None:
        """For 127.0.0.1 and localhost. The same `name` again renews it: renamed into place, key first."""
        new = f"new-{name}"
        extensions = self.directory / f"{new}.ext"
        extensions.write_text("subjectAltName = IP:127.0.0.1, DNS:localhost\n")
        request = ("-keyout", f"{new}.key", "-out", f"{new}.csr", "-subj", f"/CN={common_name or name}")
        self._openssl("req", *_NEW_KEY, *request)
        signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", extensions.name)
        self._openssl("x509", "-req", "-in", f"{new}.csr", *signer, "-out", f"{new}.pem", "-days", str(days))
        for suffix in ("key", "pem"):
            (self.directory / f"{new}.{suffix}").replace(self.directory / f"{name}.{suffix}")
