"""Stream the records of a file of requests: JSON Lines, CSV with a header, or a server's log.

Other fields of a log than those that are looked up (prompts, keys) are decoded and dropped, record
by record. Memory is bounded by one line, whatever the size of the file.
"""

import csv
import gzip
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import msgspec

from rollout_console.scaffold.errors import ScaffoldError
from rollout_gate.untrusted import ANYTHING, BYTE_ORDER_MARK, UndecodableError, decode_json

MOST_LINE = 16 * 1024 * 1024
"""A longer line is skipped: an export with request bodies has lines of some megabytes."""
_MOST_REASONS = 40
_OTHER = "other reasons"
_DELIMITERS = ",;\t|"

_SERVER_LOG = re.compile(
    rb'^(?P<host>\S+) \S+ (?P<user>\S+) \[[^\]]*\] "(?P<request>[A-Z]+ [^"\\\s]+ HTTP/[\d.]+)" '
)
"""The common log format, and its beginning in the combined one, as nginx and Apache write it."""

Kind = Literal["JSON Lines", "CSV", "server log"]


class Record(msgspec.Struct, frozen=True):
    """One record: its line in the file, counting from 1, and its fields by their own names."""

    line: int
    fields: Mapping[str, Any]


class Skipped:
    """Counts what could not be used: for each reason how many, and the first line."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, int] = {}

    def add(self, line: int, reason: str, count: int = 1) -> None:
        """Count a record or more at ``line``; distinct reasons are bounded."""
        if reason not in self._counts and len(self._counts) >= _MOST_REASONS:
            reason = _OTHER
        self._counts[reason] += count
        self._first.setdefault(reason, line)

    def all(self) -> list[tuple[str, int, int]]:
        """Return reason, count and first line of each, the most frequent first."""
        return [(why, count, self._first[why]) for why, count in self._counts.most_common()]


class Records:
    """The records of one file, read once; ``kind`` and ``columns`` are known from its first line.

    Raises ScaffoldError where the file cannot be opened or is of no known kind. ``columns`` are a
    CSV's, empty for the others. ``known`` tells a known column by its name: of the delimiters, the
    one that separates most known columns is the CSV's.
    """

    def __init__(self, path: Path, known: Callable[[str], bool]) -> None:
        self.path = path
        self.skipped = Skipped()
        self._stream = _opened(path)
        try:
            self._first = self._first_line()
            self.kind, self.columns, self._delimiter = self._sniffed(known)
        except BaseException:
            self._stream.close()
            raise

    def __iter__(self) -> Iterator[Record]:
        """Yield each record that can be decoded; the others are in ``skipped``."""
        with closing(self._stream):
            try:
                if self.kind == "CSV":
                    yield from self._of_csv()
                else:
                    decode = _json_fields if self.kind == "JSON Lines" else _log_fields
                    for number, line in self._lines():
                        try:
                            yield Record(number, decode(line))
                        except UndecodableError as error:
                            self.skipped.add(number, str(error))
            except (OSError, EOFError) as error:
                said = f"{self.path} cannot be read to its end: {_reason(error)}"
                raise ScaffoldError(said) from None

    def close(self) -> None:
        """Close the file, where its records are not wanted."""
        self._stream.close()

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        number, line = self._number, self._first
        while line:
            if not line.endswith(b"\n") and len(line) > MOST_LINE:
                self.skipped.add(number, f"the line is longer than {MOST_LINE // 1048576} MiB")
                while line and not line.endswith(b"\n"):
                    line = self._stream.readline(MOST_LINE)
            elif not line.isspace():
                yield number, line
            number, line = number + 1, self._stream.readline(MOST_LINE + 1)

    def _first_line(self) -> bytes:
        self._number = 1
        try:
            line = self._stream.readline(MOST_LINE + 1)
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise ScaffoldError(f"{self.path} is UTF-16; save it as UTF-8")
            line = line.removeprefix(BYTE_ORDER_MARK)
            while line and line.isspace():
                self._number += 1
                line = self._stream.readline(MOST_LINE + 1)
        except (OSError, EOFError) as error:
            raise ScaffoldError(f"{self.path} cannot be read: {_reason(error)}") from None
        if not line:
            raise ScaffoldError(f"{self.path} is empty: there is nothing to take from it")
        return line

    def _sniffed(self, known: Callable[[str], bool]) -> tuple[Kind, list[str], str]:
        start = self._first.lstrip()
        if start.startswith(b"["):
            raise ScaffoldError(
                f"{self.path} is one JSON array; write one object on each line, as jq -c '.[]' does"
            )
        if start.startswith(b"{"):
            if start.rstrip() == b"{":
                raise ScaffoldError(
                    f"{self.path} is JSON on several lines; write one object on each, as jq -c does"
                )
            return "JSON Lines", [], ""
        if _SERVER_LOG.match(self._first):
            return "server log", [], ""
        header = self._first.decode("utf-8", "surrogateescape")
        found = [(_columns(header, delimiter), delimiter) for delimiter in _DELIMITERS]
        columns, delimiter = max(found, key=lambda one: (sum(map(known, one[0])), len(one[0])))
        return "CSV", columns, delimiter

    def _of_csv(self) -> Iterator[Record]:
        csv.field_size_limit(MOST_LINE)
        texts = (line.decode("utf-8", "surrogateescape") for _, line in self._raw_lines())
        rows = csv.reader(texts, delimiter=self._delimiter)
        before = self._number - 1
        while True:
            line = before + rows.line_num + 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                self.skipped.add(line, f"not CSV: {error}")
                continue
            if line == self._number:
                continue  # the header
            if not any(row):
                continue
            if len(row) > len(self.columns):
                self.skipped.add(line, "it has more columns than the header")
                continue
            yield Record(line, dict(zip(self.columns, row, strict=False)))

    def _raw_lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield each line, blank ones too: they belong to a quoted field."""
        number, line = self._number, self._first
        while line:
            yield number, line
            number, line = number + 1, self._stream.readline(MOST_LINE + 1)


def _opened(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise ScaffoldError(f"{path} is a folder; give a file")
        if path.exists() and not path.is_file():
            raise ScaffoldError(f"{path} is not a regular file")  # a FIFO would block for ever
        if path.suffix == ".gz":
            return cast(BinaryIO, gzip.GzipFile(path))
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise ScaffoldError(f"{path} cannot be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _columns(header: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
    except (csv.Error, StopIteration):
        return []


def _json_fields(line: bytes) -> Mapping[str, Any]:
    value = decode_json(line, ANYTHING)
    if not isinstance(value, dict):
        raise UndecodableError("not a JSON object")
    return value


def _log_fields(line: bytes) -> Mapping[str, Any]:
    found = _SERVER_LOG.match(line)
    if found is None:
        raise UndecodableError("not a line of the common log format")
    text = {name: value.decode("utf-8", "replace") for name, value in found.groupdict().items()}
    return {"request": text["request"], "remote_user": text["user"].removeprefix("-")}
