"""An agent in one process, with a disk, a Kafka client and an MQTT side that fail when told to."""

import errno

from edge.agent import Agent, Timing
from edge.batcher import Batcher, Limits
from edge.counts import Counts
from edge.letters import Source
from edge.link import LinkCost
from edge.sender import Sender
from edge.spool.spool import Limits as SpoolLimits
from edge.upload import Upload
from tests.edge_disk import ROOMY, ManualClock, MemoryDisk, numbers_in, open_spool
from tests.edge_fakes import FakeReceiver, FakeSink


class World:
    """One agent on a disk; `reopen` is a restart of the process."""

    def __init__(
        self, limits: SpoolLimits = ROOMY, window_bytes_max: int = 100_000, upload: Upload | None = None
    ) -> None:
        self.upload = upload or Upload()
        self.link_cost = LinkCost.FREE
        self.disk = MemoryDisk()
        self.clock = ManualClock()
        self.sink = FakeSink()
        self.receiver = FakeReceiver()
        self.limits = limits
        self.window_bytes_max = window_bytes_max
        self.reopen()

    def reopen(self) -> None:
        self.counts = Counts()
        self.spool = open_spool(self.disk, self.limits, self.clock)
        source = Source("gw", self.spool.epoch)
        batcher = Batcher(Limits(10, 100_000, 0.05))
        self.sender = Sender(
            self.spool,
            self.sink,
            batcher,
            source,
            self.window_bytes_max,
            self.clock,
            self.counts,
            self.upload,
            lambda: self.link_cost,
        )
        self.syncs: list[float] = []
        timing = Timing(retry_s=0.5, stop_timeout_s=2.0)
        self.agent = Agent(self.receiver, self.spool, self.sender, self.clock, self.counts, timing, self.syncs.append)

    def turns(self, count: int = 3, pause_ms: float = 60) -> None:
        for _ in range(count):
            self.agent.turn()
            self.clock.advance_ms(pause_ms)

    def delivered(self) -> list[int]:
        return [number for parcel in self.sink.delivered for number in numbers_in(parcel)]

    def fail(self, *operations: str, error: int = errno.ENOSPC) -> None:
        def fault(operation: str, name: str) -> None:
            if operation in operations:
                raise OSError(error, "refused", name)

        self.disk.fault = fault
