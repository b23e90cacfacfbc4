"""Exit codes of every command, so that scripts can tell failures apart."""

from typing import Final

OK: Final = 0
FAILED: Final = 1
"""The work was done and its answer is no: a verification failed, nothing was found by an exact name."""
USAGE: Final = 2
"""A command line or a configuration that cannot be used."""
UNREACHABLE: Final = 3
"""A broker or database did not answer in time."""
