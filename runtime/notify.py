"""Telling the service manager how a process is: systemd's notification protocol, sd_notify(3).

One datagram of `KEY=value` lines to the socket that `NOTIFY_SOCKET` names. Ours because it is thirty lines, and the
packages that have it have not been looked after for years.
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping
from typing import Self


class Notifier:
    """Without a service manager that listens, everything here does nothing. Nothing raises: the work matters more."""

    def __init__(self, address: str | None, watchdog_s: float | None) -> None:
        self.watchdog_s = watchdog_s
        """So often at least the service manager wants to hear `alive`, else it restarts us; None: it does not mind."""
        # a name that begins with @ lies in Linux' abstract namespace
        self._address = f"\0{address[1:]}" if address and address.startswith("@") else address
        self._socket = (
            None if address is None else socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        )

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """What the environment says; a watchdog only when it is meant for this process."""
        usec, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
        is_ours = usec.isdigit() and int(usec) > 0 and pid in ("", str(os.getpid()))
        return cls(environment.get("NOTIFY_SOCKET") or None, int(usec) / 1e6 if is_ours else None)

    def ready(self, status: str) -> None:
        """Started, or done with reloading; `status` is for people."""
        self._send("READY=1", f"STATUS={_line(status)}")

    def reloading(self) -> None:
        """Ends with `ready`."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The beginning of the end."""
        self._send("STOPPING=1")

    def alive(self, status: str) -> None:
        """Still doing the work; due at least every `watchdog_s`."""
        self._send("WATCHDOG=1", f"STATUS={_line(status)}")

    def close(self) -> None:
        """Say nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is not None and self._address is not None:
            with contextlib.suppress(OSError):  # nobody listens any more
                self._socket.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._address)


def _line(text: str) -> str:
    return " ".join(text.split())[:200]
