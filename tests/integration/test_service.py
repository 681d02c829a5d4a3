"""The service that the tests start."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.processes import is_alive
from tests.integration.service import ENDS_WITH_PARENT, ROOT
from tests.waiting import wait_until

START = """
import pathlib, signal, sys
from tests.integration.service import Service
running = Service(folder=pathlib.Path(sys.argv[1]), database_url="sqlite://")
sys.stderr.write(f'{running.start("sleep", "sleep", "600").pid}\\n')
signal.pause()
"""


@pytest.mark.skipif(not ENDS_WITH_PARENT, reason="setpriv is not installed")
def test_its_processes_end_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    start = (sys.executable, "-c", START, str(tmp_path))
    with subprocess.Popen(
        start, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stderr
        pid = int(tests.stderr.readline())
        assert is_alive(pid)
        tests.kill()
    wait_until(lambda: not is_alive(pid), what="it has ended as well")
