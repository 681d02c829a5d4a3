"""File descriptors of the relay, and what it reads from and writes to them.

Imports little, since the relay imports it.
"""

import fcntl
import os
import select
from contextlib import suppress

STDIN, STDOUT, STDERR = 0, 1, 2


def occupy_closed() -> None:
    """Otherwise a pipe could get such a number. The line gets them closed, as it would without us."""
    for each in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(each)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def is_same_file(one: int, other: int) -> bool:
    return os.path.samestat(os.fstat(one), os.fstat(other))


def is_readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])


def write(target: int, data: bytes) -> bool:
    """Returns False if nobody reads it."""
    while data:
        try:
            data = data[os.write(target, data) :]
        except BlockingIOError:
            select.select([], [target], [])
        except OSError:
            return False
    return True


def nonblocking_pipe() -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


def replace_by_null(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, descriptor, inheritable=False)
    os.close(null)


def close_inherited() -> None:
    """The line has them now; among them may be a lock that must be released when the line ends."""
    try:
        found = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - importing pathlib takes a while
    except OSError:
        return
    for each in found:
        with suppress(OSError):
            if each > STDERR and not fcntl.fcntl(each, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                os.close(each)
