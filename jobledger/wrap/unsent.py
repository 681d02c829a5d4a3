"""What the relay has not passed to the recorder yet, and how both tell it apart.

Imports little, since the relay imports it.
"""

import os
from collections import deque
from collections.abc import Iterator
from typing import IO

STDOUT, STDERR, OMITTED = b"o", b"e", b"-"
MAX_BYTES = 4 * 1024 * 1024
"""Some output is written before the recorder has imported Django, and the line must not wait for it."""

_LENGTH_BYTES = 4


class Unsent:
    """A queue of output. If it gets too long, the middle is left out, and only its size is kept."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_part_bytes = max_bytes // 2
        self._head, self._tail = deque[bytes](), deque[bytes]()
        self._head_bytes = self._tail_bytes = self._omitted = 0

    def __bool__(self) -> bool:
        return bool(self._head)

    def add(self, mark: bytes, data: bytes) -> None:
        """Append what was written to a descriptor."""
        frame = _frame(mark, data)
        if not (self._tail or self._omitted) and self._head_bytes + len(frame) <= self._max_part_bytes:
            self._head.append(frame)
            self._head_bytes += len(frame)
            return
        self._tail.append(frame)
        self._tail_bytes += len(frame)
        while self._tail_bytes > self._max_part_bytes:
            dropped = self._tail.popleft()
            self._tail_bytes -= len(dropped)
            self._omitted += len(dropped) - len(_frame(mark, b""))
        if not self._head:
            self._advance()

    def send(self, channel: int) -> None:
        """Write what the channel accepts now. Raises OSError if nobody reads it any more."""
        while self._head:
            try:
                size = os.write(channel, self._head[0])
            except BlockingIOError:
                return
            self._head_bytes -= size
            rest = self._head.popleft()[size:]
            if rest:
                self._head.appendleft(rest)
            elif not self._head:
                self._advance()

    def clear(self) -> None:
        self.__init__(2 * self._max_part_bytes)  # type: ignore[misc]

    def _advance(self) -> None:
        if self._omitted:
            self._head.append(_frame(OMITTED, str(self._omitted).encode()))
        self._head.extend(self._tail)
        self._head_bytes = sum(map(len, self._head))
        self._tail.clear()
        self._tail_bytes = self._omitted = 0


def received(channel: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The marks and the data of what is sent, until its end. A frame that is cut off is left out."""
    while len(start := channel.read(1 + _LENGTH_BYTES)) == 1 + _LENGTH_BYTES:
        yield start[:1], channel.read(int.from_bytes(start[1:], "big"))


def _frame(mark: bytes, data: bytes) -> bytes:
    return mark + len(data).to_bytes(_LENGTH_BYTES, "big") + data
