"""The relay: starts a wrapped line at once, passes on what it writes, and ends as it has ended.

If stdout and stderr are the same file, as in cron's mail, the line writes to the same pipe as well, so that
the order is kept; then the record cannot tell them apart.

A process that the line leaves behind may still write, so the relay lives until all have closed its pipes, as
cron's own process would. What is written after the line has ended is passed on, but not recorded.

Imports little: cron waits for it.
"""

import errno
import os
import resource
import select
import signal
import sys
import syslog
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import NamedTuple, NoReturn

from jobledger.wrap import descriptors, enclosing, unsent
from jobledger.wrap.descriptors import STDERR, STDIN, STDOUT
from jobledger.wrap.line import USAGE, Line, UsageError, parse
from jobledger.wrap.unsent import Unsent

READ_BYTES = 64 * 1024
MAX_LAST_BYTES = 1024 * 1024
"""A pipe holds no more, unless the system's administrator has allowed it."""
RECORDER_SECONDS = 5.0
"""How long the relay waits for the recorder in the end. After that, it continues in the background."""
USAGE_EXIT_CODE = 2
NOT_RECORDED = "A line of a crontab was run, but its run is not recorded"
NOT_EXECUTABLE, NOT_FOUND = 126, 127
PASSED_ON = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
)
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class Task(NamedTuple):
    """What the recorder has to know from the beginning."""

    line: Line
    relay: enclosing.Process
    started: float
    """On the monotonic clock, which all processes share."""
    output: int
    """The descriptor from which it reads what the line writes."""
    ending: int
    """The descriptor from which it then reads how the line has ended, unless the relay was killed."""
    is_one_stream: bool
    """Whether stdout and stderr cannot be told apart."""


class Ending(NamedTuple):
    """How the line has ended."""

    status: int
    """As from ``os.wait4``."""
    ended: float
    """On the monotonic clock."""
    cpu_seconds: float
    peak_memory_bytes: int

    def written(self) -> bytes:
        return " ".join(map(repr, self)).encode()

    @classmethod
    def read(cls, text: bytes) -> "Ending | None":
        """None if the relay was killed before the line ended."""
        if not text:
            return None
        status, ended, cpu, memory = text.split()
        return cls(int(status), float(ended), float(cpu), int(memory))


Record = Callable[[Task], None]


def run(arguments: Sequence[str], record: Record) -> NoReturn:
    """Run the line in these arguments of ``wrap``, while another process calls ``record``; then exit."""
    try:
        line = parse(arguments)
    except UsageError as error:
        os.write(STDERR, f"jobledger wrap: {error}\nusage: {USAGE}\n".encode(errors="surrogateescape"))
        sys.exit(USAGE_EXIT_CODE)
    if enclosing.relay() is not None:
        _become(line)
    enclosing.announce_relay()
    descriptors.occupy_closed()
    exit_like(_Relay(line).run(record))


def warn(text: str) -> None:
    """Tell the system's log, since cron would mail it."""
    syslog.openlog("jobledger", syslog.LOG_PID, syslog.LOG_CRON)
    syslog.syslog(syslog.LOG_WARNING, text.replace("\0", "")[:1000])


def exit_like(status: int) -> NoReturn:
    """Exit as the process with this status did: with its code, or by its signal."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        # Its core is the one that matters.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        os._exit(128 + number)
    os._exit(os.waitstatus_to_exitcode(status))


class _Pipe:
    """A pipe to which the line writes."""

    def __init__(self, mark: bytes, *targets: int) -> None:
        self.mark, self.targets = mark, targets
        self.source, self.end = os.pipe()


class _Relay:
    def __init__(self, line: Line) -> None:
        self._line = line
        self._started = time.monotonic()
        self._pid = self._recorder = 0
        self._unsent = Unsent()
        self._status: int | None = None
        self._is_hurried = False
        self._poll = select.poll()
        self._wake, wake_end = descriptors.nonblocking_pipe()
        self._poll.register(self._wake, select.POLLIN)
        self._channel = self._ending = -1
        signal.set_wakeup_fd(wake_end, warn_on_full_buffer=False)

    def run(self, record: Record) -> int:
        """Returns the status of the line."""
        self._handle_signals()
        pipes = self._start()
        self._fork_recorder(record, pipes)
        descriptors.close_inherited()
        self._pass_on({pipe.source: pipe for pipe in pipes})
        self._let_recorder_end()
        return self._status or 0

    # Signals

    def _handle_signals(self) -> None:
        for number in PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, _do_nothing)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._status is not None:
            self._is_hurried = True
        elif not (number in _FROM_TERMINAL and _is_in_foreground()):
            with suppress(OSError):
                os.kill(self._pid, number)

    # The line

    def _start(self) -> list[_Pipe]:
        pipes = _pipes()
        # A fork that gets a signal must not treat it as the relay's.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            self._pid = os.fork()
        except OSError as error:
            # Too many processes: the line can take the place of this one.
            warn(f"{NOT_RECORDED}: {error}")
            _become(self._line, mask=mask)
        if not self._pid:
            _become(self._line, pipes, mask)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for pipe in pipes:
            os.close(pipe.end)
        descriptors.replace_by_null(STDIN)
        return pipes

    # The recorder

    def _fork_recorder(self, record: Record, pipes: Sequence[_Pipe]) -> None:
        output, channel = descriptors.nonblocking_pipe()
        os.set_blocking(output, True)
        ending, ending_end = os.pipe()
        is_one_stream = len(pipes) < 2
        task = Task(self._line, enclosing.this_process(), self._started, output, ending, is_one_stream)
        try:
            self._recorder = os.fork()
            if not self._recorder:
                # If the relay closes its end of a pipe, the line has to notice.
                for each in (channel, ending_end, *(pipe.source for pipe in pipes)):
                    os.close(each)
                _be_recorder(task, record)
        except OSError as error:
            warn(f"{NOT_RECORDED}: {error}")
        os.close(output)
        os.close(ending)
        self._channel, self._ending = channel, ending_end

    def _let_recorder_end(self) -> None:
        """Let it write the end; if that takes too long, such as without a database, do not wait for it."""
        for each in (STDOUT, STDERR):
            descriptors.replace_by_null(each)
        until = time.monotonic() + RECORDER_SECONDS
        while self._unsent and not self._is_hurried and time.monotonic() < until:
            self._step({}, until)
        if self._channel >= 0:
            self._stop_sending()
        while self._recorder and not self._is_hurried and time.monotonic() < until:
            if os.waitpid(self._recorder, os.WNOHANG)[0]:
                return
            self._step({}, until)

    # Output

    def _pass_on(self, pipes: dict[int, _Pipe]) -> None:
        for source in pipes:
            self._poll.register(source, select.POLLIN)
        while pipes or self._status is None:
            self._step(pipes)
            self._look_for_end(pipes)

    def _step(self, pipes: dict[int, _Pipe], until: float | None = None) -> None:
        """Wait for something to do, and do it."""
        if self._channel >= 0:
            self._poll.register(self._channel, select.POLLOUT if self._unsent else 0)
        timeout = None if until is None else max(0.0, until - time.monotonic()) * 1000
        for descriptor, events in self._poll.poll(timeout):
            if descriptor == self._wake:
                with suppress(BlockingIOError):
                    os.read(self._wake, READ_BYTES)
            elif descriptor == self._channel:
                self._send() if events == select.POLLOUT else self._stop_sending()
            elif descriptor in pipes:
                self._pass_on_once(pipes, pipes[descriptor])

    def _pass_on_once(self, pipes: dict[int, _Pipe], pipe: _Pipe) -> int:
        """Returns how many bytes were passed on."""
        data = os.read(pipe.source, READ_BYTES)
        if data and self._channel >= 0 and self._ending >= 0:
            self._unsent.add(pipe.mark, data)
            self._send()
        if not data or not descriptors.write(pipe.targets[0], data):
            # If nobody reads it, the line is to notice, as it would without us.
            self._poll.unregister(pipe.source)
            os.close(pipe.source)
            del pipes[pipe.source]
        return len(data)

    def _send(self) -> None:
        try:
            self._unsent.send(self._channel)
        except OSError:
            self._stop_sending()

    def _stop_sending(self) -> None:
        """All is sent, or the recorder does not read any more."""
        self._unsent.clear()
        with suppress(KeyError):
            self._poll.unregister(self._channel)
        os.close(self._channel)
        self._channel = -1

    def _look_for_end(self, pipes: dict[int, _Pipe]) -> None:
        if self._status is not None:
            return
        pid, status, used = os.wait4(self._pid, os.WNOHANG)
        if not pid:
            return
        ended = time.monotonic()
        for pipe in list(pipes.values()):
            self._pass_on_last(pipes, pipe)
        self._status = status
        self._note_end(Ending(status, ended, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024))

    def _pass_on_last(self, pipes: dict[int, _Pipe], pipe: _Pipe) -> None:
        """What the line has written before it ended. Processes that it has left may write more and more."""
        left = MAX_LAST_BYTES
        while left > 0 and pipe.source in pipes and descriptors.is_readable(pipe.source):
            left -= self._pass_on_once(pipes, pipe)

    def _note_end(self, ending: Ending) -> None:
        with suppress(OSError):
            os.write(self._ending, ending.written())
        os.close(self._ending)
        self._ending = -1


def _become(line: Line, pipes: Sequence[_Pipe] = (), mask: Iterable[int] | None = None) -> NoReturn:
    """Execute the line in this process, with what it would have without us."""
    try:
        for number in (*PASSED_ON, *_IGNORED_BY_PYTHON, signal.SIGCHLD):
            if number in _IGNORED_BY_PYTHON or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for pipe in pipes:
            for target in pipe.targets:
                os.dup2(pipe.end, target)
        environment = _own_environment()
        argv = line.argv(environment)
        _execute(argv, environment)
    except OSError as error:
        os.write(STDERR, f"{line.words[0]}: {error.strerror}\n".encode(errors="surrogateescape"))
        os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)


def _execute(argv: list[str], environment: Mapping[str, str]) -> NoReturn:
    try:
        os.execvpe(argv[0], argv, environment)  # noqa: S606 - with a shell only if that is asked for
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # A script without a first line that names its interpreter, which every shell runs itself.
    os.execve("/bin/sh", ["/bin/sh", *argv], environment)  # noqa: S606 - the same


def _be_recorder(task: Task, record: Record) -> NoReturn:
    """In a session of its own, so that what ends the line does not end its record."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (*PASSED_ON, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        enclosing.announce_recorder()
        for each in (STDIN, STDOUT, STDERR):
            descriptors.replace_by_null(each)
        descriptors.close_inherited()
        record(task)
    except BaseException as error:  # noqa: BLE001 - such as an exit in the project's settings
        warn(f"{NOT_RECORDED}: {type(error).__name__}: {error}")
    finally:
        os._exit(0)


def _own_environment() -> dict[str, str]:
    """The environment with which this process was started.

    ``manage.py`` names its settings in it, Python its locale, and settings may add anything.
    """
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - importing pathlib takes a while
            entries = file.read().split(b"\0")
    except OSError:
        return dict(os.environ)
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if b"=" in entry)
    return {name: value for name, _, value in pairs if name}


def _pipes() -> list[_Pipe]:
    open_ones = [each for each in (STDOUT, STDERR) if os.get_inheritable(each)]
    if len(open_ones) == 2 and descriptors.is_same_file(STDOUT, STDERR):
        return [_Pipe(unsent.STDOUT, STDOUT, STDERR)]
    marks = {STDOUT: unsent.STDOUT, STDERR: unsent.STDERR}
    return [_Pipe(marks[each], each) for each in open_ones]


def _is_in_foreground() -> bool:
    """Whether the line gets the terminal's signals itself."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """A handler: the signal wakes the poll."""
