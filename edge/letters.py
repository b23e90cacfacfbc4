"""Dead letters that the agent produces, as Kafka records. Pure."""

from typing import NamedTuple

from edge.spool.records import Gap, Message, Refused, StorageClass
from wire import codec, topics
from wire.malformed import Malformed, Reason
from wire.records import DeadLetter

_GAP_TOPIC_OF = {StorageClass.SIGNALS: topics.FLEET_SIGNALS, StorageClass.EVENTS: topics.FLEET_EVENTS}


class Source(NamedTuple):
    """Who speaks: (gateway, epoch, sequence) names one record."""

    gateway: str
    epoch: str

    def epoch_of(self, stream: int) -> str:
        """What batches carry as their epoch: sequences of an asset and channel rise within it."""
        return f"{self.epoch}.{stream}" if stream else self.epoch

    def at(self, sequence: int) -> str:
        """The name of a record."""
        return f"{self.gateway}/{self.epoch}/{sequence}"


class Letter(NamedTuple):
    """A dead letter and the topic that takes it."""

    topic: str
    letter: DeadLetter


def of_refused(record: Refused, source: Source, sequence: int) -> Letter:
    """For a message that was no device's payload."""
    letter = DeadLetter(
        record.payload,
        record.reason,
        record.detail,
        f"{record.origin}#{source.at(sequence)}",
        record.received_ms,
        record.asset_id,
        record.size,
    )
    return Letter(record.kafka_topic, letter)


def of_gap(gap: Gap, source: Source) -> Letter:
    """For records that the spool lost. The value is JSON; the same loss always has the same origin."""
    value = codec.to_json(
        {
            "v": 1,
            "gateway": source.gateway,
            "epoch": source.epoch,
            "class": gap.storage_class.label,
            "first_sequence": gap.first_sequence,
            "last_sequence": gap.last_sequence,
            "count": gap.record_count,
            "reason": str(gap.reason),
            "time_ms": gap.received_ms,
        }
    )
    count = gap.record_count or "an unknown number of"
    why = Malformed(gap.reason, f"{count} records of class {gap.storage_class.label} are lost: {gap.detail}")
    first_last = f"{gap.storage_class.label}/{gap.first_sequence}-{gap.last_sequence}"
    origin = f"spool:{source.gateway}/{source.epoch}/{first_last}"
    return Letter(_dead_letter_topic(gap), DeadLetter.of(value, why, origin, gap.received_ms))


def _dead_letter_topic(gap: Gap) -> str:
    return topics.dead_letter_topic(_GAP_TOPIC_OF[gap.storage_class])


def of_message(record: Message, error: str, source: Source, sequence: int) -> Letter:
    """For a payload whose batch Kafka refuses."""
    topic = topics.KAFKA_TOPIC_OF[record.address.channel]
    origin = f"mqtt:{topics.mqtt_topic(*record.address)}#{source.at(sequence)}"
    why = Malformed(Reason.REFUSED_BY_KAFKA, f"{topic}: {error}")
    letter = DeadLetter.of(record.payload, why, origin, record.received_ms, record.address.asset_id)
    return Letter(topics.dead_letter_topic(topic), letter)
