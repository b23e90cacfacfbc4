"""What goes to Kafka as one record, and which records of the spool it settles. Pure."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from edge import letters
from edge.letters import Letter, Source
from edge.spool.reader import Chunk
from edge.spool.records import Message, StorageClass
from wire import batches, records, topics
from wire.messages import Batch
from wire.records import Headers


class Claim(NamedTuple):
    """So many records of a chunk."""

    chunk: Chunk
    record_count: int


@dataclass(slots=True, eq=False)
class Parcel:
    """A Kafka record. `members` are the payloads of a batch, (sequence, message); none for a dead letter.

    `sequence` is that of the first record: parcels of one asset are sent in this order.
    """

    sequence: int
    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    members: list[tuple[int, Message]]
    claims: list[Claim]

    @property
    def storage_class(self) -> StorageClass:
        """Of its records."""
        return self.claims[0].chunk.storage_class

    @property
    def record_count(self) -> int:
        """Records of the spool that it settles."""
        return sum(claim.record_count for claim in self.claims)


class Verdict(Enum):
    """What an error of the Kafka client says about the parcel."""

    REFUSED = auto()
    """This record will not be taken, however often it is sent."""
    LATER = auto()
    """Something about the topic, our rights or the cluster has to be put right first."""
    CLIENT_BROKEN = auto()
    """Only a new client can go on."""


class SendError(NamedTuple):
    """`name` is Kafka's, for counting; `text` is for people."""

    verdict: Verdict
    name: str
    text: str


class Report(NamedTuple):
    """What became of a parcel. Without error it is in Kafka, acknowledged by all in-sync replicas."""

    parcel: Parcel
    error: SendError | None


def of_batch(members: list[tuple[int, Message]], claims: list[Claim], source: Source) -> Parcel:
    """Payloads of one asset and channel, in order."""
    first_sequence, first = members[0]
    batch = Batch(
        v=1,
        kind=first.kind,
        asset_id=first.asset_id,
        channel=first.channel,
        gateway=source.gateway,
        epoch=source.epoch_of(claims[0].chunk.stream),
        first_sequence=first_sequence,
        sequence_offsets=[sequence - first_sequence for sequence, _ in members],
        received_ms=[message.received_ms for _, message in members],
        payloads=[message.payload for _, message in members],
    )
    headers = records.cloud_event(
        type_=f"{first.channel}.batch.v1",
        id_=source.at(first_sequence),
        source=f"/gateways/{source.gateway}",
        subject=first.asset_id,
        time_ms=first.received_ms,
        content_type=batches.CONTENT_TYPE,
    )
    topic = topics.KAFKA_TOPIC_OF[first.channel]
    return Parcel(first_sequence, topic, first.asset_id.encode(), batches.encode(batch), headers, members, claims)


def of_letter(letter: Letter, sequence: int, claim: Claim) -> Parcel:
    """A dead letter."""
    key = letter.letter.asset_id.encode() or None
    return Parcel(sequence, letter.topic, key, letter.letter.value, letter.letter.headers(), [], [claim])


def singles(parcel: Parcel, source: Source) -> list[Parcel]:
    """The same payloads, each on its own."""
    chunks = (claim.chunk for claim in parcel.claims for _ in range(claim.record_count))
    return [of_batch([member], [Claim(chunk, 1)], source) for member, chunk in zip(parcel.members, chunks, strict=True)]


def refused_letter(parcel: Parcel, error: str, source: Source) -> Parcel:
    """The dead letter for a batch of one that Kafka refuses."""
    ((sequence, message),) = parcel.members
    return of_letter(letters.of_message(message, error, source, sequence), sequence, parcel.claims[0])
