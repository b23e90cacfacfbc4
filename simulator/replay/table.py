"""A CSV file, gzipped or not, read once: only the columns that a mapping uses, row by row."""

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

from simulator.errors import UnusableError

ROWS_MAX: Final = 1_000_000
"""Largest table: the rows of a replay are held in memory, since their order in the file means nothing."""
_TEXTS_MAX: Final = 200_000
"""Texts that are kept once however often they occur: measurements repeat."""
_GZIP_MAGIC: Final = b"\x1f\x8b"


class Table:
    """An open file; a context manager. Raises `UnusableError` for what cannot be read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            with file.open("rb") as raw:
                is_gzip = raw.read(2) == _GZIP_MAGIC
            opened: Any = gzip.open(file, "rb") if is_gzip else file.open("rb")  # noqa: SIM115 - `close` closes it
        except OSError as error:
            raise UnusableError(f"{file}: cannot be read: {error.strerror}") from error
        self._text = io.TextIOWrapper(opened, encoding="utf-8-sig", newline="")
        self._reader = csv.reader(self._text)
        try:
            self.header = self._header()
        except UnusableError:
            self.close()
            raise

    def rows(self, columns: list[str], limit: int | None) -> Iterator[dict[str, str]]:
        """Rows as column → text, at most `limit`. Short rows have empty texts at their end."""
        places = [(column, self.header.index(column)) for column in columns]
        count, texts = 0, dict[str, str]()
        while (limit is None or count < limit) and (row := self._next()) is not None:
            if not row:
                continue
            count += 1
            if count > ROWS_MAX:
                raise UnusableError(f"{self._file}: more than {ROWS_MAX} rows; use --limit")
            width = len(row)
            if len(texts) > _TEXTS_MAX:
                texts.clear()
            yield {
                column: texts.setdefault(row[place], row[place]) if place < width else "" for column, place in places
            }

    def _header(self) -> list[str]:
        header = self._next()
        if not header:
            raise UnusableError(f"{self._file}: empty: a table begins with a row of column names")
        return header

    def _next(self) -> list[str] | None:
        try:
            return next(self._reader, None)
        except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
            raise UnusableError(f"{self._file}: damaged after line {self._reader.line_num}: {error}") from error

    def close(self) -> None:
        self._text.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
