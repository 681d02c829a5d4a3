"""The service works with the lowest versions that it claims to support.

The newest versions are what all other tests use, except those of Python and Django:
``tests/e2e/containers/test_newest_versions.py``. Only this test checks that the claimed versions can be
installed together, and that nothing of this project's own environment is needed.
"""

import re
import tomllib
from pathlib import Path

import pytest

from tests.adopter import Adopter
from tests.manual import ROOT
from tests.versions import BACKEND, install, try_it

pytestmark = pytest.mark.takes_long


@pytest.fixture
def lowest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the service, and the lowest versions of what it requires."""
    folder = tmp_path_factory.mktemp("lowest")
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    floors = [re.sub(r">=([\d.]+).*", r"==\1", each) for each in required]
    (folder / "floors.txt").write_text("\n".join(floors))
    install(folder, "--no-build-isolation", "--constraint", str(folder / "floors.txt"), str(ROOT))
    return folder


def test_the_lowest_versions_work_together(lowest: Path, tmp_path: Path) -> None:
    project = Adopter.isolated(tmp_path, lowest).adopt()
    try_it(project)
    without_backport = project.manage("check", settings=project.add_settings("enqueueing", BACKEND))
    assert "jobledger.W031" in without_backport.stderr
