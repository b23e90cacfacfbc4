"""A real mosquitto with the gateway's configuration and access rules, but for ports, paths and user."""

import getpass
import re
import subprocess
from pathlib import Path

import pytest

from local import ports
from local.servers.mqtt import installed_mosquitto, listens
from tests.certificates import Authority
from tests.edge_world import wait_until

DEPLOY = Path(__file__).parents[1] / "edge" / "deploy" / "mosquitto"
PASSWORDS = {"fleetfold-edge": "agent-password", "fleetfold-operator": "operator-password", "car-3": "car-password"}


class GatewayBroker:
    """Devices with certificates of `authority` on `device_port`, passwords on `local_port`."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        program = installed_mosquitto()
        if program is None:
            pytest.skip("mosquitto is not installed: the gateway's configuration was not tried")
        self.authority = authority
        self.local_port, self.device_port = ports.free_port(), ports.free_port()
        self._folder = folder
        authority.issue("server")
        self._passwords(folder / "passwords")
        configuration = folder / "mosquitto.conf"
        configuration.write_text(self._configuration(), encoding="utf-8")
        self.process = subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.PIPE, text=True)
        wait_until(self._listens, what="mosquitto listens")

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.process.communicate()[1]
        return all(listens("127.0.0.1", port) for port in (self.local_port, self.device_port))

    def _configuration(self) -> str:
        text = (DEPLOY / "mosquitto.conf").read_text(encoding="utf-8")
        for pattern, replacement in (
            (r"listener 1883 127\.0\.0\.1", f"listener {self.local_port} 127.0.0.1"),
            (r"listener 8883", f"listener {self.device_port} 127.0.0.1"),
            (r"include_dir .*", f"include_dir {DEPLOY / 'limits.d'}"),
            (r"persistence_location .*", f"persistence_location {self._folder}/"),
            (r"password_file .*", f"password_file {self._folder / 'passwords'}"),
            (r"acl_file .*", f"acl_file {DEPLOY / 'fleetfold.acl'}"),
            (r"cafile .*", f"cafile {self.authority.ca}"),
            (r"certfile .*", f"certfile {self.authority.certificate('server')}"),
            (r"keyfile .*", f"keyfile {self.authority.key('server')}"),
        ):
            text, changed = re.subn(rf"(?m)^{pattern}$", replacement, text)
            assert changed == 1, pattern
        return f"user {getpass.getuser()}\n{text}"

    def _passwords(self, file: Path) -> None:
        file.touch(mode=0o600)
        for user, password in PASSWORDS.items():
            command = ["mosquitto_passwd", "-b", str(file), user, password]
            subprocess.run(command, check=True, capture_output=True, timeout=20)

    def close(self) -> str:
        """What it had to say."""
        self.process.terminate()
        return self.process.communicate(timeout=20)[1]
