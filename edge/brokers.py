"""All MQTT brokers as one: their receivers fill one inbox, acknowledgements go back to where the messages came from."""

from typing import Final

from edge.clock import Clock
from edge.config import EdgeSettings
from edge.counts import Counts
from edge.inbox import Delivery, Inbox
from edge.mqtt import MqttReceiver

_ENOUGH_PARTS: Final = 2
"""A group commit waits no longer once it has this part of what the brokers send without an acknowledgement."""


class Brokers:
    """`take` and `acknowledge` are for one thread."""

    def __init__(self, settings: EdgeSettings, clock: Clock, counts: Counts) -> None:
        self.inbox = Inbox(settings.mqtt.queue_messages_max, settings.mqtt.queue_bytes_max)
        self.receivers = {
            name: MqttReceiver(broker, settings.client_id_at(broker), clock, counts.broker(name), self.inbox, number)
            for number, (name, broker) in enumerate(settings.all_brokers.items())
        }
        self._by_number = list(self.receivers.values())
        self._gather_s = settings.spool.commit_gather_ms / 1000
        window = sum(broker.receive_maximum for broker in settings.all_brokers.values())
        self._enough = max(1, window // _ENOUGH_PARTS)

    def start(self) -> None:
        """Begin to connect; returns at once."""
        for receiver in self._by_number:
            receiver.start()

    def stop(self) -> None:
        """Receive no more, send the acknowledgements that wait, and part from the brokers; the sessions stay."""
        self.inbox.close()
        for receiver in self._by_number:
            receiver.part()
        for receiver in self._by_number:
            receiver.stop()

    def take(self, wait_s: float) -> list[Delivery]:
        """What was received since the last call, oldest first. Waits for the first, then a little for company.

        Where reads are kept apart (`edge.lull`), what there is of company is in the read itself.
        """
        gather_s = 0.0 if all(receiver.is_pausing for receiver in self._by_number) else self._gather_s
        return self.inbox.take(wait_s, gather_s, self._enough)

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        """Let each broker have its PUBACKs, in this order."""
        if len(self._by_number) == 1:
            self._by_number[0].acknowledge(deliveries)
            return
        for number, receiver in enumerate(self._by_number):
            own = [delivery for delivery in deliveries if delivery.connection.broker == number]
            if own:
                receiver.acknowledge(own)

    @property
    def connected(self) -> bool:
        """Whether all brokers have accepted us and our subscriptions."""
        return all(receiver.connected for receiver in self._by_number)

    @property
    def connected_by_name(self) -> dict[str, bool]:
        """The same for each."""
        return {name: receiver.connected for name, receiver in self.receivers.items()}

    @property
    def fault(self) -> str | None:
        """For people: why not."""
        faults = {name: receiver.fault for name, receiver in self.receivers.items() if receiver.fault is not None}
        if len(self.receivers) == 1:
            return next(iter(faults.values()), None)
        return "; ".join(f"{name}: {fault}" for name, fault in faults.items()) or None

    @property
    def is_alive(self) -> bool:
        """Whether all threads work."""
        return all(receiver.is_alive for receiver in self._by_number)
