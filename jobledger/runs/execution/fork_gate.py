"""A gate between forks of this process and threads that a fork must not find in the middle of something."""

import os
import threading
from types import FrameType

LONGEST_WAIT_SECONDS = 3.0


class Gate:
    """Any number of threads inside, or one that forks; while one wants to fork, nobody else comes in.

    Otherwise threads that go in by turns could keep a fork waiting until its patience ends.
    """

    def __init__(self) -> None:
        """Open, and nobody inside."""
        self._changed = threading.Condition()
        self._inside = 0
        self._forking: set[int] = set()

    def enter(self) -> None:
        """Wait for forks that are wanted, and keep those that come from beginning."""
        with self._changed:
            self._changed.wait_for(lambda: not self._forking, timeout=LONGEST_WAIT_SECONDS)
            self._inside += 1

    def leave(self) -> None:
        """What was begun by ``enter`` is over."""
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Before a fork: wait until nobody is inside, but not for ever."""
        self._changed.acquire()
        self._forking.add(threading.get_ident())
        self._changed.wait_for(lambda: not self._inside, timeout=LONGEST_WAIT_SECONDS)

    def open(self) -> None:
        """After a fork."""
        # Ctrl-C may have come before `close` had begun.
        if self.is_closed_by_me:
            self._forking.remove(threading.get_ident())
            self._changed.notify_all()
            self._changed.release()

    def renew(self) -> None:
        """After a fork, in the child: the threads that may be inside are not there."""
        self._changed, self._inside, self._forking = threading.Condition(), 0, set()

    @property
    def is_closed_by_me(self) -> bool:
        """Whether this thread is forking."""
        return threading.get_ident() in self._forking


gate = Gate()
os.register_at_fork(before=gate.close, after_in_parent=gate.open, after_in_child=gate.renew)
_HOOKS = {hook.__code__ for hook in (Gate.close, Gate.open, Gate.renew)}


def is_amid_a_fork(frame: FrameType | None) -> bool:
    """Whether this thread, at this frame, is forking: Python drops what is raised in a hook of a fork."""
    if gate.is_closed_by_me:
        return True
    while frame is not None:
        if frame.f_code in _HOOKS:
            return True
        frame = frame.f_back
    return False
