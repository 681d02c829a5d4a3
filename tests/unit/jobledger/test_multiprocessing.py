"""A job can use multiprocessing with the functions of its own module, whichever start method it chooses."""

import subprocess
import sys

import pytest

SCRIPT = """
import multiprocessing, sys, django
django.setup()
from tests.probes.management.commands.spawning import negative
child = multiprocessing.get_context("{method}").Process(target=negative, args=[1])
child.start()
child.join()
sys.exit(child.exitcode)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_child_imports_the_module_of_a_job(method: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(method=method)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_another_process_has_to_set_up_django_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from jobledger import JobCommand"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "AppRegistryNotReady" in done.stderr
