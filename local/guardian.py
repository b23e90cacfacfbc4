"""Ends what a program started when the program itself was ended with kill -9.

Run as `python -m local.guardian MARK` with a pipe as stdin. The pipe closes when the program that holds the
other end is gone, however it went; then every process that carries the mark is asked to end, and killed
after `GRACE_S`.
"""

import contextlib
import sys
import time
from typing import Final

import psutil

from local import processes

GRACE_S: Final = 3.0


def main(mark: str) -> None:
    """Wait for the end of stdin, then end what is left of the run `mark`."""
    sys.stdin.buffer.read()
    for process in processes.marked(mark):
        with contextlib.suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + GRACE_S
    while (left := processes.marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()


if __name__ == "__main__":
    main(sys.argv[1])
