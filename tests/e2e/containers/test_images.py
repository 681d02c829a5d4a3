"""Each clone has its own image, which ``docker compose up`` builds whenever the clone has changed."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.containers.compose import remove_images
from tests.manual import ROOT

# The first test waits for the image.
pytestmark = pytest.mark.timeout(900)

EDITED = "tasks_app/models.py"
PRINT_THE_EDIT = f"""
services:
  init:
    command: [tail, "-1", {EDITED}]
"""
NOT_IN_THE_IMAGE = shutil.ignore_patterns(".*", "var", "tests", "docs", "benchmarks", "__pycache__")


@dataclass(frozen=True, kw_only=True)
class Clone:
    """A folder with the project, in which nothing is set: Compose names the project after it."""

    folder: Path

    def compose(self, *arguments: str) -> str:
        """Run ``docker compose`` with an ``init`` that prints the last line of the edited file."""
        kept = {
            name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or "DOCKER" in name
        }
        return subprocess.run(
            ["docker", "compose", "-f", "docker-compose.yml", "-f", "docker-compose.print.yml", *arguments],
            cwd=self.folder,
            env=kept,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def up(self) -> str:
        """What ``init`` prints, started as by ``docker compose up``."""
        return self.compose("up", "--no-deps", "--no-log-prefix", "init")

    def edit(self, text: str) -> None:
        with (self.folder / EDITED).open("a") as file:
            file.write(f"# {text}\n")

    def image_of_secrets(self) -> str:
        """The id of the image of the service that the database and Redis depend on."""
        self.compose("build", "secrets")
        image = f"scheduled-jobs-secrets:{self.folder.name}"
        inspect = ["docker", "image", "inspect", "--format", "{{.Id}}", image]
        return subprocess.run(inspect, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def clones(tmp_path: Path, project_image: str) -> Iterator[list[Clone]]:
    """Two, in folders of different names. Most of their images is in the builder's cache."""
    made = [Clone(folder=tmp_path / f"e2e-{uuid.uuid4().hex[:8]}") for _ in range(2)]
    for clone in made:
        shutil.copytree(ROOT, clone.folder, ignore=NOT_IN_THE_IMAGE)
        shutil.copy(ROOT / ".dockerignore", clone.folder)
        (clone.folder / "docker-compose.print.yml").write_text(PRINT_THE_EDIT)
    yield made
    for clone in made:
        clone.compose("down", "--volumes", "--timeout", "1")
        remove_images(f"scheduled-jobs:{clone.folder.name}", f"scheduled-jobs-secrets:{clone.folder.name}")


def test_an_edit_runs_after_up(clones: list[Clone]) -> None:
    edited, other = clones
    assert "# edited" not in edited.up()
    secrets = edited.image_of_secrets()
    edited.edit("edited")

    assert "# edited" in edited.up()
    assert "# edited" not in other.up()
    assert "# edited" in edited.up()
    assert edited.image_of_secrets() == secrets
