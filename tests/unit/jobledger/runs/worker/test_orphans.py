"""A worker's main process adopts the processes of a child only once the child has ended as a whole."""

import subprocess
import sys

import psutil

from jobledger.runs.worker import orphans
from tests.waiting import wait_until

# The main thread ends, which makes it a zombie, while another one reads until its input is closed.
HALF_ENDED = """
import ctypes, sys, threading
threading.Thread(target=sys.stdin.read).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_child_has_not_ended_while_one_of_its_threads_runs() -> None:
    with subprocess.Popen([sys.executable, "-c", HALF_ENDED], stdin=subprocess.PIPE) as child:
        process = psutil.Process(child.pid)
        wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE, what="the main thread has ended")
        assert not orphans._has_ended(child.pid)
        child.kill()
        wait_until(lambda: orphans._has_ended(child.pid), what="the child has ended")
    assert orphans._has_ended(child.pid)
