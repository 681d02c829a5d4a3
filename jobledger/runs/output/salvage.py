"""Saves the output of a run whose process was killed.

While a worker's child executes a run, the memory with the output that is not saved yet, and the ends of its
pipes, are also kept in a mailbox: a pair of sockets, of which the worker's main process has one, too.
Descriptors in a message that nobody has received stay open even if their sender is killed. The child takes
the message back once its output is saved; if the child dies first, the main process takes it. So has a
thread of a worker whose run has a process of its own.

Before a child claims a run, and until it knows the answer, there is a note of that instead: if it dies in
that time, the job has certainly not begun.

While no child dies, this costs the main process one message for each child that starts, and a look into the
mailboxes from time to time: it reads the pipes of a child that cannot (``pump``).
"""

import os
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from struct import Struct
from uuid import UUID

from celery.signals import worker_init, worker_process_init

from jobledger.models import Stream
from jobledger.runs.output.descriptors import read_rest
from jobledger.runs.output.pump import Pump, is_waiting
from jobledger.runs.output.recorder import OutputRecorder
from jobledger.runs.output.run_memory import RunMemory
from jobledger.runs.output.streams import Utf8Source
from jobledger.runs.processes.forks import not_forking
from jobledger.runs.processes.resources import Usage
from jobledger.runs.service.pulse import pulse

_NAME_BYTES = 100
_CLAIMING = "claiming "
_MAX_DESCRIPTORS = 3
_DESCRIPTOR = Struct("i")


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """The ends for putting in and for taking out; neither waits."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for each in pair:
        each.settimeout(0)
    return pair


class _Mailbox(threading.local):
    """The mailbox of a thread."""

    pair: tuple[socket.socket, socket.socket] | None = None


@dataclass(frozen=True, kw_only=True)
class Salvaged:
    """What is known of a run whose process has died."""

    recorder: OutputRecorder
    """With all output that is not saved yet."""
    usage: Usage | None
    """What it had used when its process last looked."""
    was_job_running: bool = False
    """Whether its process died in the job's own code."""
    outcome: bytes = b""
    """What its process has handed over before it ended; empty if it has not."""


@dataclass(kw_only=True)
class Mailboxes:
    """The mailboxes of a worker's processes."""

    _reception: tuple[socket.socket, socket.socket] | None = None
    """For the main process to receive its children's doors."""
    _doors: list[socket.socket] = field(default_factory=list)
    """In the main process: the ends of its children's mailboxes for taking out."""
    _of_process: tuple[socket.socket, socket.socket] | None = None
    """In a child: its mailbox."""
    _of_thread: _Mailbox = field(default_factory=_Mailbox)
    _kept_by: int = 0
    _waiting: dict[str, int] = field(default_factory=dict)
    """In the main process: runs whose output was waiting at the last look, and how often they had read."""
    _pumps: dict[str, Pump] = field(default_factory=dict)

    @property
    def _own(self) -> tuple[socket.socket, socket.socket] | None:
        return self._of_thread.pair or self._of_process

    @contextmanager
    def of_thread(self) -> Iterator[None]:
        """In the block, this thread has a mailbox, for the process that it starts for its run."""
        self._of_thread.pair = pair = _socket_pair()
        try:
            yield
        finally:
            self._of_thread.pair = None
            _close(_take(pair[1]))
            for each in pair:
                each.close()

    def open_reception(self, **kwargs: object) -> None:
        """In a main process, before it forks."""
        self._reception = _socket_pair()

    def open_own(self, **kwargs: object) -> None:
        """In a child that starts. What it has inherited belongs to other children."""
        for door in self._doors:
            door.close()
        for pump in self._pumps.values():
            pump.close()
        self._doors, self._pumps = [], {}
        self._of_process = _socket_pair()
        if self._reception is not None:
            with suppress(OSError):
                socket.send_fds(self._reception[0], [b"door"], [self._of_process[1].fileno()])

    def own_descriptors(self) -> list[int]:
        """A child's mailbox, to be handed to a process that it starts for its run."""
        return [each.fileno() for each in self._own or ()]

    def adopt(self, descriptors: list[int]) -> None:
        """In such a process: use the mailbox that was handed to it."""
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - positional only
        if descriptors:
            slot, door = (socket.socket(fileno=descriptor) for descriptor in descriptors)
            slot.settimeout(0)
            door.settimeout(0)
            self._of_process = slot, door

    def receive_doors(self, **kwargs: object) -> None:
        """In a main process, from time to time."""
        while self._reception is not None and (doors := _take(self._reception[1])):
            for door in filter(_is_abandoned, self._doors):
                door.close()
            self._doors = [door for door in self._doors if door.fileno() != -1]
            self._doors += [socket.socket(fileno=door) for door in doors]

    def keep(self, run_id: UUID, descriptors: Iterable[int]) -> None:
        """Keep the output of a run: its recorder's memory, then its pipes. Does nothing outside a worker."""
        if self._own is not None:
            self._kept_by = os.getpid()
            # Without it, the run only loses more if it is killed.
            with suppress(OSError):
                socket.send_fds(self._own[0], [str(run_id).encode()], list(descriptors))

    @contextmanager
    def claiming(self, run_id: UUID) -> Iterator[None]:
        """In the block, a child claims the run, and does not begin it. Does nothing if it has another one."""
        note, own = f"{_CLAIMING}{run_id}", self._of_process
        if own is None or self._of_thread.pair is not None or _name_in(own[1]):
            yield
            return
        # Without it, nobody knows that the run has not begun.
        with suppress(OSError):
            own[0].send(note.encode())
        try:
            yield
        finally:
            if _name_in(own[1]) == note:
                _take(own[1])

    def was_claiming(self, run_id: UUID) -> bool:
        """For a main process: whether a child has died that was claiming the run, and had not begun it."""
        self.receive_doors()
        for door in self._doors:
            if _name_in(door) == f"{_CLAIMING}{run_id}":
                self._doors.remove(door)
                door.close()
                return True
        return False

    def is_kept(self, run_id: UUID) -> bool:
        """Whether another process will find the run if this one dies."""
        is_own = self._own is not None and self._kept_by == os.getpid()
        return is_own and self._own is not None and _name_in(self._own[1]) == str(run_id)

    def has_outcome(self, run_id: UUID) -> bool:
        """Whether the run's job has ended, and a process with this mailbox is about to record its outcome."""
        name, descriptors = _message_in(self._own[1], socket.MSG_PEEK) if self._own else ("", [])
        if name != str(run_id) or not descriptors:
            _close(descriptors)
            return False
        memory = RunMemory(descriptors[0])
        has_outcome = bool(memory.outcome)
        memory.close()
        _close(descriptors[1:])
        return has_outcome

    def release(self) -> None:
        """The output of the run is saved. Does nothing in a process that was forked by the job."""
        if self._own is not None and self._kept_by == os.getpid():
            _close(_take(self._own[1]))

    def relieve(self, **kwargs: object) -> None:
        """In a main process, from time to time: read the pipes of children that have stopped reading them."""
        self.receive_doors()
        self._pumps = {name: pump for name, pump in self._pumps.items() if pump.is_working}
        before, self._waiting = self._waiting, {}
        for door in self._doors:
            # At once: the child may put in another run at any time.
            name, descriptors = _message_in(door, socket.MSG_PEEK)
            if name in self._pumps:
                _close(descriptors)
            else:
                self._look(name, descriptors, before.get(name))

    def _look(self, name: str, descriptors: list[int], reads_before: int | None) -> None:
        memory, *pipes = descriptors or [-1]
        if not pipes or not is_waiting(pipes):
            _close(descriptors)
            return
        self._waiting[name] = reads = RunMemory(memory).reads
        if reads != reads_before:
            _close(descriptors)
            return
        self._pumps[name] = pump = Pump(memory, pipes)
        pump.start()

    def salvaged(self, run_id: UUID) -> Salvaged | None:
        """What is known of a run whose process has died.

        For a main process, or for a child whose run had a process of its own. None if there is nothing, or if
        it was returned before.
        """
        if (pump := self._pumps.pop(str(run_id), None)) is not None:
            pump.stop()
        if self._own is not None and _name_in(self._own[1]) == str(run_id):
            return _salvaged_from(_take(self._own[1]))
        self.receive_doors()
        for door in self._doors:
            if _name_in(door) == str(run_id):
                self._doors.remove(door)
                descriptors = _take(door)
                door.close()
                return _salvaged_from(descriptors)
        return None


_mailboxes = Mailboxes()
keep, is_kept, release = _mailboxes.keep, _mailboxes.is_kept, _mailboxes.release
has_outcome = _mailboxes.has_outcome
salvaged = _mailboxes.salvaged
claiming, was_claiming = _mailboxes.claiming, _mailboxes.was_claiming
own_descriptors, adopt, of_thread = _mailboxes.own_descriptors, _mailboxes.adopt, _mailboxes.of_thread


def connect() -> None:
    """From now on, a worker's processes have mailboxes."""
    for signal, receiver in (
        (worker_init, _mailboxes.open_reception),
        (worker_process_init, _mailboxes.open_own),
        (pulse, _mailboxes.relieve),
    ):
        signal.connect(receiver, dispatch_uid=f"{__name__}.{receiver.__name__}")


def _is_abandoned(door: socket.socket) -> bool:
    """Whether its child has ended and left nothing."""
    try:
        return not door.recv(_NAME_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        return False


def _name_in(door: socket.socket) -> str:
    try:
        return door.recv(_NAME_BYTES, socket.MSG_PEEK).decode()
    except BlockingIOError:
        return ""


def _take(door: socket.socket) -> list[int]:
    """The descriptors in the next message; empty if there is none."""
    return _message_in(door, 0)[1]


def _message_in(door: socket.socket, flags: int) -> tuple[str, list[int]]:
    """The next message and its descriptors. With ``MSG_PEEK``, they are duplicates, and the message stays."""
    size = socket.CMSG_LEN(_MAX_DESCRIPTORS * _DESCRIPTOR.size)
    try:
        # Not `recv_fds`, which ignores the flags.
        name, parts, _, _ = door.recvmsg(_NAME_BYTES, size, flags)
    except BlockingIOError:
        return "", []
    found = [number for _, _, data in parts for (number,) in _DESCRIPTOR.iter_unpack(data)]
    return name.decode(), found


def _salvaged_from(descriptors: list[int]) -> Salvaged | None:
    if not descriptors:
        return None
    memory = RunMemory(descriptors[0])
    # A pump of the main process may still be reading, if this is a child whose run had a process of its own.
    memory.take_turn()
    # A process that is forked meanwhile would inherit the recorders' lock.
    with not_forking():
        recorder = OutputRecorder.restored(memory.output())
        _record_rest(recorder, memory, descriptors[1:])
    salvaged = Salvaged(
        recorder=recorder,
        usage=memory.usage,
        was_job_running=memory.is_job_running,
        outcome=memory.outcome,
    )
    memory.close()
    _close(descriptors[1:])
    return salvaged


def _record_rest(recorder: OutputRecorder, memory: RunMemory, pipes: Iterable[int]) -> None:
    sources = {stream: Utf8Source(recorder, stream) for stream in Stream}
    for stream, data in memory.all_spooled():
        sources[stream].write(data)
    for source, pipe in zip(sources.values(), pipes, strict=False):
        for data in read_rest(pipe):
            source.write(data)
        source.end()


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
