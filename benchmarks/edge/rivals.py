"""What the agent is compared with: paho alone, and mq-bridge.

mq-bridge (PyPI, Rust): one route from MQTT to Kafka, acknowledging only what Kafka confirmed (`delayed_ack` false), a
persistent MQTT 5 session at QoS 1, batches of 1,000, a queue of 10,000 and a window of 5,000 (with a larger one it does
not start: its subscription is answered behind the queued messages), and our own Kafka settings: acks=all, idempotent,
the same linger; lz4, since its librdkafka has no zstd. It has no disk.
"""

import importlib.util
import json
import sys
import time
from typing import Any, Final, NamedTuple

import psutil
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.edge.world import BRIDGE_TOPIC, World, end_offsets

PAHO_ID: Final = "bench-paho"
BRIDGE_ID: Final = "bench-mq-bridge"
_RUN_BRIDGE: Final = "import json, sys, mq_bridge; mq_bridge.Route.from_config(json.loads(sys.argv[1]), 'r').run()"


class Rate(NamedTuple):
    """Messages a second, and CPU µs of each."""

    per_s: float
    cpu_us: float


def bridge_is_installed() -> bool:
    return importlib.util.find_spec("mq_bridge") is not None


def paho_alone(port: int, count: int) -> Rate:
    """Receive and acknowledge, with nothing behind it."""
    received = 0

    def on_message(_client: paho.Client, _data: Any, _message: paho.MQTTMessage) -> None:
        nonlocal received
        received += 1

    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=PAHO_ID, protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = on_message
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho has no types there
    properties.SessionExpiryInterval = 3_600
    properties.ReceiveMaximum = 65_535
    client.connect("127.0.0.1", port, clean_start=False, properties=properties)
    while received == 0:
        client.loop(0.1)
    first, started_s, cpu_s = received, time.perf_counter(), time.thread_time()
    while received < count:
        client.loop(1.0)
    seconds, cpu_s = time.perf_counter() - started_s, time.thread_time() - cpu_s
    client.disconnect()
    return Rate((count - first) / seconds, cpu_s / (count - first) * 1e6)


def bridge_config(mqtt_url: str, kafka: str) -> dict[str, Any]:
    """As it is run here."""
    mqtt = {
        "url": mqtt_url.replace("mqtt://", "tcp://"),
        "topic": "dt/fleet/+/+/signals",
        "client_id": BRIDGE_ID,
        "queue_capacity": 10_000,
        "max_inflight": 5_000,
        "qos": 1,
        "clean_session": False,
        "session_expiry_interval": 3_600,
        "delayed_ack": False,
    }
    options = [["acks", "all"], ["enable.idempotence", "true"], ["compression.type", "lz4"], ["linger.ms", "5"]]
    sink = {"url": kafka, "topic": BRIDGE_TOPIC, "delayed_ack": False, "producer_options": options}
    return {
        "routes": {
            "r": {"input": {"mqtt": mqtt}, "output": {"kafka": sink}, "batch_size": 1_000, "startup_timeout_ms": 30_000}
        }
    }


def bridge(world: World, count: int, limit_s: float) -> tuple[Rate, int]:
    """Its rate, from the first record in Kafka to the last, and how many came within `limit_s`."""
    config = json.dumps(bridge_config(world.mqtt.url, world.kafka.url))
    child = world.processes.start(
        "mq-bridge", [sys.executable, "-c", _RUN_BRIDGE, config], world.directory / "mq-bridge.log"
    )
    try:
        process = psutil.Process(child.pid)
        started_s, first, start = time.monotonic(), 0, (0.0, 0.0)
        moment, arrived, still_since_s = start, 0, started_s
        while arrived < count and time.monotonic() - started_s < limit_s and time.monotonic() - still_since_s < 10:
            time.sleep(0.1)
            before, arrived = arrived, end_offsets(world.kafka.url, BRIDGE_TOPIC)
            if arrived > before:
                still_since_s = time.monotonic()
                times = process.cpu_times()
                moment = (still_since_s, times.user + times.system)
                if first == 0:
                    first, start = arrived, moment
        moved = max(1, arrived - first)
        return Rate(moved / max(1e-9, moment[0] - start[0]), (moment[1] - start[1]) / moved * 1e6), arrived
    finally:
        child.kill()
