"""What goes to Kafka as one record, and which records of the spool it settles. Pure."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from edge import letters
from edge.letters import Letter, Source
from edge.spool import records as spool_records
from edge.spool.reader import Chunk
from edge.spool.records import Bundle, Message, Run, StorageClass
from wire import batches, records, topics
from wire.batches import Around, Assembler
from wire.messages import Batch
from wire.records import Headers
from wire.topics import Address


class Claim(NamedTuple):
    """So many records of a chunk."""

    chunk: Chunk
    record_count: int


@dataclass(slots=True, eq=False)
class Parcel:
    """A Kafka record. `sequence` is that of the first record: parcels of one asset are sent in this order."""

    sequence: int
    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    claims: list[Claim]
    bundle_count: int = 0
    """Of a batch; a dead letter has none."""
    packed_bytes: int = 0
    """Of its bundles."""
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


class _Shared(NamedTuple):
    """What all batches of a kind, channel and stream share."""

    around: Around
    topic: str
    headers: Headers


class Packer:
    """Makes parcels of what one agent spooled."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._assembler = Assembler(source.gateway)
        self._shared: dict[tuple[bytes, int], _Shared] = {}
        """By the first two bytes of a series, and the stream."""

    def batch(self, members: list[tuple[int, Bundle]], claims: list[Claim]) -> Parcel:
        """Bundles of one asset and channel, (first sequence, bundle), in order."""
        sequence, (series, runs, payload_count, packed) = members[0]
        packed_bytes = len(packed)
        sequences, pieces = [range(sequence, sequence + payload_count)], [packed]
        received_ms = runs[0][0]
        if len(members) > 1:
            all_runs = list(runs)
            for start, (_, its_runs, count, its_packed) in members[1:]:
                sequences.append(range(start, start + count))
                all_runs += its_runs
                pieces.append(its_packed)
                packed_bytes += len(its_packed)
            runs = tuple(all_runs)
        key, shared = spool_records.asset_id_of(series), self._shared_by(series, claims[0].chunk.stream)
        value = self._assembler.assemble(shared.around, key, sequences, runs, pieces)
        headers = records.own_headers(shared.headers, self.source.at(sequence), key, received_ms)
        return Parcel(sequence, shared.topic, key, value, headers, claims, len(members), packed_bytes)

    def _shared_by(self, series: bytes, stream: int) -> _Shared:
        name = (spool_records.code_of(series), stream)
        shared = self._shared.get(name)
        if shared is None:
            kind, _, channel = spool_records.address_of(series)
            around = self._assembler.around(kind, channel, self.source.epoch_of(stream))
            headers = records.common_headers(
                type_=f"{channel}.batch.v1",
                source=f"/gateways/{self.source.gateway}",
                content_type=batches.CONTENT_TYPE,
            )
            shared = self._shared[name] = _Shared(around, topics.KAFKA_TOPIC_OF[channel], headers)
        return shared

    def singles(self, parcel: Parcel) -> list[Parcel]:
        """The same payloads, each on its own."""
        chunks = [claim.chunk for claim in parcel.claims for _ in range(claim.record_count)]
        return [
            self.batch([(sequence, _bundle(message))], [Claim(chunk, 1)])
            for (sequence, message), chunk in zip(unpacked(parcel), chunks, strict=True)
        ]

    def refused_letter(self, parcel: Parcel, error: str) -> Parcel:
        """The dead letter for a batch of one that Kafka refuses."""
        ((sequence, message),) = unpacked(parcel)
        return of_letter(letters.of_message(message, error, self.source, sequence), sequence, parcel.claims[0])


def unpacked(parcel: Parcel) -> list[tuple[int, Message]]:
    """The payloads of a batch, by sequence. A parcel does not keep them beside its value: that is rarely needed."""
    batch = batches.decode(parcel.value)
    assert isinstance(batch, Batch), batch  # we made it
    address = Address(batch.kind, batch.asset_id, batch.channel)
    triples = zip(batch.sequence_offsets, batch.received_ms, batch.payloads, strict=True)
    return [(batch.first_sequence + offset, Message(time_ms, address, payload)) for offset, time_ms, payload in triples]


def _bundle(message: Message) -> Bundle:
    series = spool_records.series_of(message.address)
    return spool_records.bundle(series, [Run(message.received_ms, 1)], [message.payload])


def of_letter(letter: Letter, sequence: int, claim: Claim) -> Parcel:
    """A dead letter."""
    key = letter.letter.asset_id.encode() or None
    return Parcel(sequence, letter.topic, key, letter.letter.value, letter.letter.headers(), [claim])
