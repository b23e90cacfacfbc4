"""What goes to Kafka as one record, and which records of the spool it settles. Pure."""

from enum import Enum, auto
from typing import Final, NamedTuple

import msgspec

from edge import letters
from edge.letters import Letter, Source
from edge.spool import records as spool_records
from edge.spool import series as names
from edge.spool.reader import Chunk
from edge.spool.records import Bundle, Message, Run, StorageClass
from wire import batches, records, topics
from wire.batches import Around, Assembler
from wire.messages import Batch
from wire.records import Headers
from wire.topics import Address


class Claim(msgspec.Struct, frozen=True, gc=False):
    """So many records of a chunk."""

    chunk: Chunk
    record_count: int


PARCEL_BYTES: Final = 2_800
"""What a parcel costs in memory beside its value, with what the Kafka client makes of it, about."""


class Parcel(msgspec.Struct, eq=False, gc=False):
    """A Kafka record. `sequence` is that of the first record: parcels of one asset are sent in this order."""

    sequence: int
    topic: str
    key: bytes | None
    value: bytes
    """Empty while the Kafka client has it."""
    headers: Headers
    claims: list[Claim]
    """The records of the spool that it settles."""
    storage_class: StorageClass
    """Of its records."""
    stream: int
    """Of its records, see `edge.spool.lanes`."""
    is_batch: bool
    """Or a dead letter."""
    size_bytes: int
    """Of the value."""
    weight_bytes: int
    """What it costs in memory until it is delivered."""

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


Report = tuple[Parcel, SendError | None]
"""What became of a parcel. Without error it is in Kafka, acknowledged by all in-sync replicas."""


class _Shared(msgspec.Struct, frozen=True):
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
        sequence, first = members[0]
        received_ms, chunk = first.runs[0].received_ms, claims[0].chunk
        key = names.asset_id_of(first.series)
        shared = self._shared.get((names.code_of(first.series), chunk.stream))
        shared = shared or self._share(first.series, chunk.stream)
        if first.payload_count == 1 and len(members) == 1:
            value = self._assembler.assemble_one(shared.around, key, sequence, received_ms, first.packed)
        else:
            value = self._assembled(shared.around, key, members)
        headers = records.own_headers(shared.headers, self.source.at(sequence).encode(), key, received_ms)
        weight_bytes = PARCEL_BYTES + len(value)
        of = (chunk.storage_class, chunk.stream)
        return Parcel(sequence, shared.topic, key, value, headers, claims, *of, True, len(value), weight_bytes)

    def _assembled(self, around: Around, key: bytes, members: list[tuple[int, Bundle]]) -> bytes:
        sequences = [range(sequence, sequence + bundle.payload_count) for sequence, bundle in members]
        runs = [(run.received_ms, run.payload_count) for _, bundle in members for run in bundle.runs]
        return self._assembler.assemble(around, key, sequences, runs, [bundle.packed for _, bundle in members])

    def _share(self, series: bytes, stream: int) -> _Shared:
        kind, _, channel = names.address_of(series)
        around = self._assembler.around(kind, channel, self.source.epoch_of(stream))
        headers = records.common_headers(
            type_=f"{channel}.batch.v1", source=f"/gateways/{self.source.gateway}", content_type=batches.CONTENT_TYPE
        )
        shared = self._shared[names.code_of(series), stream] = _Shared(around, topics.KAFKA_TOPIC_OF[channel], headers)
        return shared

    def singles(self, parcel: Parcel) -> list[Parcel]:
        """The same payloads, each on its own. The first carries the weight."""
        chunks = [claim.chunk for claim in parcel.claims for _ in range(claim.record_count)]
        made = [
            self.batch([(sequence, _bundle(message))], [Claim(chunk, 1)])
            for (sequence, message), chunk in zip(unpacked(parcel), chunks, strict=True)
        ]
        for each in made:
            each.weight_bytes = 0
        made[0].weight_bytes = parcel.weight_bytes
        return made

    def refused_letter(self, parcel: Parcel, error: str) -> Parcel:
        """The dead letter for a batch of one that Kafka refuses, with its weight."""
        ((sequence, message),) = unpacked(parcel)
        made = of_letter(letters.of_message(message, error, self.source, sequence), sequence, parcel.claims[0])
        made.weight_bytes = parcel.weight_bytes
        return made


def unpacked(parcel: Parcel) -> list[tuple[int, Message]]:
    """The payloads of a batch, by sequence. A parcel does not keep them beside its value: that is rarely needed."""
    batch = batches.decode(parcel.value)
    assert isinstance(batch, Batch), batch  # we made it
    address = Address(batch.kind, batch.asset_id, batch.channel)
    triples = zip(batch.sequence_offsets, batch.received_ms, batch.payloads, strict=True)
    return [(batch.first_sequence + offset, Message(time_ms, address, payload)) for offset, time_ms, payload in triples]


def _bundle(message: Message) -> Bundle:
    series = names.of(message.address)
    return spool_records.bundle(series, [Run(message.received_ms, 1)], [message.payload])


def of_letter(letter: Letter, sequence: int, claim: Claim) -> Parcel:
    """A dead letter."""
    key = letter.letter.asset_id.encode() or None
    value, headers, chunk = letter.letter.value, letter.letter.headers(), claim.chunk
    of, weight_bytes = (chunk.storage_class, chunk.stream), PARCEL_BYTES + len(value)
    return Parcel(sequence, letter.topic, key, value, headers, [claim], *of, False, len(value), weight_bytes)
