"""The log files of the parts: one JSON object a line, rotated by size."""

import datetime
import json
import os
from collections import deque
from pathlib import Path

FILE_BYTES_MAX = 8 * 1024 * 1024
FILES_KEPT = 3
# A part that writes without newlines is cut here, so that a line never grows without end.
_LINE_BYTES_MAX = 64 * 1024
_TAIL_LINES = 20


class PartLog:
    """Takes a part's output as it comes and writes whole lines.

    Lines that are JSON objects stay as they are; any other line is wrapped as `{"time", "part", "message"}`.

    Attributes:
        tail: The last lines as the part wrote them, for the sentence about a failed start.
    """

    def __init__(self, path: Path, part: str, *, bytes_max: int = FILE_BYTES_MAX) -> None:
        """Opens the log.

        Args:
            path: The file to append to; older ones are `<path>.1` … `<path>.3`.
            part: The part's name, for the wrapped lines.
            bytes_max: A file that would pass this is rotated.
        """
        self._path = path
        self._part = part
        self._bytes_max = bytes_max
        self._rest = b""
        self.tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._open()

    def feed(self, data: bytes) -> list[bytes]:
        """Takes output; returns the lines that it completed."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LINE_BYTES_MAX:
            lines.append(self._rest)
            self._rest = b""
        lines = [line for line in lines if line.strip()]
        if lines:
            self.tail.extend(lines)
            self._write(b"".join(self._formatted(line) for line in lines))
        return lines

    def close(self) -> None:
        """Writes what is left and closes the file."""
        self.feed(b"\n")
        os.close(self._file)

    def _formatted(self, line: bytes) -> bytes:
        if line.startswith(b"{") and line.endswith(b"}"):
            return line + b"\n"
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        wrapped = {"time": now, "part": self._part, "message": line.decode(errors="replace")}
        return json.dumps(wrapped, ensure_ascii=False).encode() + b"\n"

    def _write(self, data: bytes) -> None:
        if self._size and self._size + len(data) > self._bytes_max:
            self._rotate()
        os.write(self._file, data)
        self._size += len(data)

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size

    def _rotate(self) -> None:
        os.close(self._file)
        for number in range(FILES_KEPT - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        self._open()
