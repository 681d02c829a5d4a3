"""In another project, what ``jobledger startjob`` writes works at once, with either kind of tests."""

import subprocess
from pathlib import Path

import pytest

from tests.adopter import Adopter

pytestmark = pytest.mark.takes_long

APPS = {"shop": "tests.py", "billing": "tests/__init__.py"}
"""Each with what holds its tests."""


@pytest.fixture
def adopter(tmp_path: Path) -> Adopter:
    """A project with two apps and the tables."""
    made = Adopter.start(tmp_path).adopt()
    printed(made.manage(*(f"startapp {app}" for app in APPS)))
    (made.folder / "billing" / "tests.py").unlink()
    for app, tests in APPS.items():
        (made.folder / app / tests).parent.mkdir(exist_ok=True)
        (made.folder / app / tests).touch()
    with (made.folder / "mysite" / "settings.py").open("a") as settings:
        settings.write(f"INSTALLED_APPS += {[*APPS]}\n")
    return made


def printed(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_new_job_runs_and_its_test_passes_with_djangos_runner_and_with_pytest(adopter: Adopter) -> None:
    printed(adopter.manage(*(f"jobledger startjob {app}_job --app {app}" for app in APPS)))
    output = printed(
        adopter.manage("migrate -v 0", *(f"{app}_job" for app in APPS), "jobledger runs", "test")
    )
    assert output.count("Did the work of ") == len(APPS)
    for app in APPS:
        assert f"{app}_job\tsucceeded\tcli" in output
    assert "Found 4 test(s)." in output
    assert "OK" in output
    # Without plugins that the project does not have, whose imports take longer than the tests.
    without = (f"-pno:{plugin}" for plugin in ("cacheprovider", "playwright", "celery", "docker_tools"))
    pytest_output = printed(adopter.execute("-m", "pytest", "-q", *without))
    assert "4 passed" in pytest_output
