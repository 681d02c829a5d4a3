"""Each clone has its own image, which ``docker compose up`` builds whenever the clone has changed."""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.containers.compose import remove_images_of
from tests.manual import ROOT

# The first test waits for the image.

EDITED = "tasks_app/models.py"
LAST_LINE = ("tail", "-1", EDITED)
PRINT_THE_EDIT = f"""
services:
  beat:
    command: [{", ".join(map(json.dumps, LAST_LINE))}]
    restart: "no"
  worker:
    command: [{", ".join(map(json.dumps, LAST_LINE))}]
    restart: "no"
    depends_on: !override
      image-is-current: {{condition: service_completed_successfully, required: false}}
"""
NOT_IN_THE_IMAGE = shutil.ignore_patterns(".*", "var", "tests", "docs", "benchmarks", "__pycache__")


@dataclass(frozen=True, kw_only=True)
class Clone:
    """A folder with the project, in which nothing is set: Compose names the project after it."""

    folder: Path

    def compose(self, *arguments: str) -> str:
        """Run ``docker compose`` with a beat that prints the last line of the edited file."""
        kept = {
            name: value for name, value in os.environ.items() if name in ("PATH", "HOME") or "DOCKER" in name
        }
        return subprocess.run(
            ["docker", "compose", "-f", "docker-compose.yml", "-f", "docker-compose.print.yml", *arguments],
            cwd=self.folder,
            env=kept,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if arguments[0] == "up" else subprocess.PIPE,
            text=True,
        ).stdout

    @property
    def services(self) -> dict[str, Any]:
        """The Compose file, as this clone's environment makes it."""
        services: dict[str, Any] = json.loads(self.compose("config", "--format", "json"))["services"]
        return services

    def up(self) -> str:
        """What beat prints, started as by ``docker compose up``."""
        return self.compose("up", "--no-deps", "--no-log-prefix", "beat")

    def up_worker(self) -> str:
        """The same of the worker, which builds nothing, but has what it needs started."""
        return self.compose("up", "--no-log-prefix", "worker")

    def run(self) -> str:
        """All that ``docker compose run`` prints, if it prints the last line of the edited file."""
        return self.compose("run", "--rm", "-T", "--no-deps", "web", *LAST_LINE)

    def edit(self, text: str) -> None:
        with (self.folder / EDITED).open("a") as file:
            file.write(f"# {text}\n")

    def last_line(self) -> str:
        """The last line of the edited file."""
        return (self.folder / EDITED).read_text().splitlines()[-1]


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
        remove_images_of(clone.folder.name)


def test_an_edit_runs_after_up(clones: list[Clone]) -> None:
    edited, other = clones
    before = edited.last_line()
    assert before in edited.up()
    edited.edit("edited")

    # It uses the image as it is, and prints nothing of its own.
    assert edited.run() == f"{before}\n"
    assert "# edited" in edited.up()
    assert "# edited" not in other.up()
    assert edited.run() == "# edited\n"


def test_a_stale_image_is_noticed_where_nothing_is_built(clones: list[Clone]) -> None:
    edited = clones[0]
    edited.up()
    assert "Warning" not in edited.up_worker()
    edited.edit("edited again")

    stale = edited.up_worker()
    assert f"Warning: this image is not what the folder contains now; {EDITED} changed" in stale
    # Compose says so, too, in case it starts nothing.
    assert '"image-is-current\\" didn\'t complete successfully' in stale
    # Not on the standard output.
    assert "Warning" not in edited.run()
    assert "Warning" not in edited.up()
    rebuilt = edited.up_worker()
    assert ("# edited again" in rebuilt, "Warning" in rebuilt) == (True, False)


def test_what_one_clone_builds_replaces_no_container_of_another(clones: list[Clone]) -> None:
    """Compose replaces the containers of an image that was built anew, and those that depend on them."""
    ours, others = (
        {each["image"] for each in clone.services.values() if "build" in each} for clone in clones
    )

    assert len(ours) == len(others) == 2
    assert not ours & others


def test_no_registry_is_asked_for_our_images(clones: list[Clone]) -> None:
    services = clones[0].services

    ours = {name: each["pull_policy"] for name, each in services.items() if "scheduled-jobs" in each["image"]}
    assert ours == {
        **dict.fromkeys(("secrets", "image-is-current", "init", "web", "worker"), "never"),
        "beat": "build",
    }
