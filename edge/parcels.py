"""What goes to Kafka as one record, and which records of the spool it settles. Pure."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from edge import letters
from edge.letters import Letter, Source
from edge.spool import records as spool_records
from edge.spool.reader import Chunk
from edge.spool.records import Bundle, StorageClass
from wire import batches, records, topics
from wire.batches import Assembler
from wire.records import Headers
from wire.topics import Channel


class Claim(NamedTuple):
    """So many records of a chunk."""

    chunk: Chunk
    record_count: int


@dataclass(slots=True, eq=False)
class Parcel:
    """A Kafka record. `members` are the bundles of a batch, (first sequence, bundle); none for a dead letter.

    `sequence` is that of the first record: parcels of one asset are sent in this order.
    """

    sequence: int
    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    members: list[tuple[int, Bundle]]
    claims: list[Claim]
    storage_class: StorageClass = field(init=False)
    """Of its records."""
    stream: int = field(init=False)
    """Of its records, see `edge.spool.lanes`."""
    record_count: int = field(init=False)
    """Records of the spool that it settles."""

    def __post_init__(self) -> None:
        chunk, count = self.claims[0]
        self.storage_class = chunk.storage_class
        self.stream = chunk.stream
        self.record_count = count if len(self.claims) == 1 else sum(claim.record_count for claim in self.claims)


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


class Packer:
    """Makes parcels of what one agent spooled."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._assembler = Assembler(source.gateway)
        self._headers = {
            channel: records.common_headers(
                type_=f"{channel}.batch.v1",
                source=f"/gateways/{source.gateway}",
                content_type=batches.CONTENT_TYPE,
            )
            for channel in Channel
        }

    def batch(self, members: list[tuple[int, Bundle]], claims: list[Claim]) -> Parcel:
        """Bundles of one asset and channel, in order."""
        sequence, first = members[0]
        address = first.address
        sequences = [range(start, start + bundle.payload_count) for start, bundle in members]
        runs = [run for _, bundle in members for run in bundle.runs]
        packed = [bundle.packed for _, bundle in members]
        epoch = self.source.epoch_of(claims[0].chunk.stream)
        value = self._assembler.assemble(address, epoch, sequences, runs, packed)
        key = address.asset_id.encode()
        received_ms = first.runs[0].received_ms
        headers = records.own_headers(self._headers[address.channel], self.source.at(sequence), key, received_ms)
        return Parcel(sequence, topics.KAFKA_TOPIC_OF[address.channel], key, value, headers, members, claims)

    def singles(self, parcel: Parcel) -> list[Parcel]:
        """The same payloads, each on its own."""
        chunks = (claim.chunk for claim in parcel.claims for _ in range(claim.record_count))
        single = [
            (sequence, part)
            for start, bundle in parcel.members
            for sequence, part in enumerate(spool_records.split(bundle, 1, 1), start)
        ]
        return [self.batch([member], [Claim(chunk, 1)]) for member, chunk in zip(single, chunks, strict=True)]

    def refused_letter(self, parcel: Parcel, error: str) -> Parcel:
        """The dead letter for a batch of one that Kafka refuses."""
        ((sequence, bundle),) = parcel.members
        (message,) = spool_records.messages(bundle)
        return of_letter(letters.of_message(message, error, self.source, sequence), sequence, parcel.claims[0])


def of_letter(letter: Letter, sequence: int, claim: Claim) -> Parcel:
    """A dead letter."""
    key = letter.letter.asset_id.encode() or None
    return Parcel(sequence, letter.topic, key, letter.letter.value, letter.letter.headers(), [], [claim])
