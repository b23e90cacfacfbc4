"""An MQTT broker of ours that speaks byte by byte, so that it can misbehave."""

import socket
import ssl
import struct
from types import TracebackType
from typing import Self

CONNECT, PUBLISH, PUBACK, SUBSCRIBE, DISCONNECT = 1, 3, 4, 8, 14
ACCEPTED, REFUSED = b"\x00", b"\x87"


class Connection:
    """One connection of the agent, from the broker's side."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.settimeout(10)
        self._stream = connection.makefile("rb")

    @property
    def common_name(self) -> str:
        """Of the certificate that the agent showed."""
        assert isinstance(self._socket, ssl.SSLSocket)
        shown = self._socket.getpeercert()
        assert shown is not None
        return str(dict(names[0] for names in shown["subject"])["commonName"])

    def packet(self) -> tuple[int, bytes]:
        """The next packet: its type and what follows its length."""
        header = self._stream.read(1)[0] >> 4
        length = shift = 0
        while True:
            byte = self._stream.read(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return header, self._stream.read(length)

    def send(self, header: int, body: bytes) -> None:
        assert len(body) < 128
        self._socket.sendall(bytes([header, len(body)]) + body)

    def accept(self, session_present: bool = False, reason: bytes = ACCEPTED, granted: bytes = b"\1\1\1") -> bytes:
        """CONNECT to SUBACK; returns the body of CONNECT."""
        kind, connect = self.packet()
        assert kind == CONNECT
        self.send(0x20, bytes([session_present]) + reason + b"\0")
        if reason == ACCEPTED:
            kind, subscribe = self.packet()
            assert kind == SUBSCRIBE
            self.send(0x90, subscribe[:2] + b"\0" + granted)
        return connect

    def publish(self, message_id: int, payload: bytes, topic: bytes = b"dt/fleet/vehicle/a/signals") -> None:
        body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", message_id) + b"\0" + payload
        self.send(0x32, body)

    def publish_together(self, count: int) -> None:
        """Messages 1 to `count` in one write."""
        topic = b"dt/fleet/vehicle/a/signals"
        body = struct.pack(">H", len(topic)) + topic
        packets = (body + struct.pack(">H", number) + b"\0x" for number in range(1, count + 1))
        self._socket.sendall(b"".join(bytes([0x32, len(packet)]) + packet for packet in packets))

    def puback(self) -> int:
        kind, body = self.packet()
        assert kind == PUBACK
        return int.from_bytes(body[:2], "big")

    def send_raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


class Broker:
    """Listens; each `connection` is the agent's next one."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10)
        self._connections: list[Connection] = []

    @property
    def url(self) -> str:
        return f"{'mqtt' if self._tls is None else 'mqtts'}://127.0.0.1:{self._listener.getsockname()[1]}"

    def connection(self) -> Connection:
        accepted, _ = self._listener.accept()
        if self._tls is not None:
            accepted = self._tls.wrap_socket(accepted, server_side=True)
        self._connections.append(Connection(accepted))
        return self._connections[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for connection in self._connections:
            connection.close()
        self._listener.close()
