"""Order of tests and which stay together, what ends with a test, properties, and when garbage is collected.

The order is random, but slow files come first, so that parallel runs do not wait for one of them at the end.
Browser tests come last: the driver keeps an event loop running in this thread, in which Django refuses to
query the database.
"""

import gc
import os
import subprocess
import traceback
from collections.abc import Generator
from os import getpid  # not `os.getpid`, which tests replace
from pathlib import Path

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from tests.databases import pytest_ignore_collect, pytest_itemcollected

__all__ = ["pytest_ignore_collect", "pytest_itemcollected"]

# What the tests share says what it found, too, if it is not what it asserts.
pytest.register_assert_rewrite("tests.unit", "tests.integration", "tests.e2e")

# How long an example takes depends more on the machine than on the code; the first one may import half of it.
# A test that suppresses other checks has to suppress this one, too: its list takes the place of this one.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

# Thousands of collected tests, and all that they import, last as long as the process. Searching them for
# garbage again and again was a fifth of what the tests cost.
gc.set_threshold(50_000, 20, 100)


# The tests of each share a service that takes longer to start than most of them.
TOGETHER = ("tests/integration/faults", "tests/integration/schedules")


class _ByService(LoadFileScheduling):  # type: ignore[misc]
    """A file's tests stay together, and so do those of some directories."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        folder = Path(file).parent.as_posix()
        return folder if folder in TOGETHER else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadFileScheduling | None:
    """For ``--dist loadfile``."""
    return _ByService(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs after the order has been shuffled."""
    items.sort(key=lambda item: (_is_marked(item, "browser"), not _is_marked(item, "takes_long")))


def pytest_collection_finish() -> None:
    """What has been loaded by now is never freed."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A process that a test has forked ends with the test's function, also if that raises something.

    Otherwise it would go on with the tests that follow, and report them as its parent does.
    """
    pid = getpid()
    try:
        return (yield)
    except BaseException:
        if getpid() != pid:
            traceback.print_exc()
        raise
    finally:
        if getpid() != pid:
            os._exit(1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> None:
    """What a command said before it failed is told with its failure, instead of its exit code alone."""
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, subprocess.CalledProcessError | subprocess.TimeoutExpired):
        for said in filter(None, (error.stdout, error.stderr)):
            note = said.decode(errors="replace") if isinstance(said, bytes) else said
            # A fixture that has failed raises the same error for each of its tests.
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)


def _is_marked(item: pytest.Item, name: str) -> bool:
    return item.get_closest_marker(name) is not None
