"""Ends what a program started when the program itself was ended with kill -9.

Run as `python -m local.guardian MARK` with a pipe as stdin. The pipe closes when the program that holds the
other end is gone, however it went; then every process that carries the mark is asked to end, and killed
after `GRACE_S`.
"""

import sys
from collections.abc import Callable
from typing import Final

import psutil

from local import processes

GRACE_S: Final = 3.0


def main(mark: str) -> None:
    """Wait for the end of stdin, then end what is left of the run `mark`."""
    sys.stdin.buffer.read()
    left = processes.marked(mark)
    for process in left:
        _send(process.terminate)
    psutil.wait_procs(left, timeout=GRACE_S)
    for process in processes.marked(mark):  # a fresh look: some may have been started while they ended
        _send(process.kill)


def _send(signal: Callable[[], None]) -> None:
    try:
        signal()
    except psutil.Error:
        return


if __name__ == "__main__":
    main(sys.argv[1])
