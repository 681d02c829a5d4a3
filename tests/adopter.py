"""A project that adopts the service as the manual says, and can import nothing else from this repository."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.manual import ADOPTING, ROOT, Block, blocks_of
from tests.waiting import DEADLINE_SECONDS

EXECUTE_LINES = """
import sys
from django.core.management import execute_from_command_line

for line in sys.argv[1:]:
    execute_from_command_line(["manage.py", *line.split()])
"""
"""Executes each argument as a line of ``manage.py``."""


@dataclass(frozen=True, kw_only=True)
class Adopter:
    """The directory of the project ``mysite``, which ``startproject`` has made."""

    folder: Path
    python: tuple[str, ...] = (sys.executable,)
    path: tuple[Path, ...] = (Path("lib"),)
    """Where it finds the service, and with ``python -S`` everything else."""

    @classmethod
    def start(cls, folder: Path) -> "Adopter":
        """The project before the manual's first step, with the packages that the tests use themselves."""
        (folder / "lib").mkdir()
        (folder / "lib" / "jobledger").symlink_to(ROOT / "jobledger")
        return cls(folder=folder).start_project()

    @classmethod
    def isolated(cls, folder: Path, *path: Path) -> "Adopter":
        """The same with only the packages in these directories."""
        return cls(folder=folder, python=(sys.executable, "-S"), path=path).start_project()

    def start_project(self) -> "Adopter":
        """Create the files of ``startproject``."""
        done = self.execute("-m", "django", "startproject", "mysite", ".", settings="")
        assert done.returncode == 0, done.stderr
        return self

    def write(self, block: Block) -> None:
        """Create a file of the manual, or append to the project's."""
        with (self.folder / block.file).open("a") as file:
            file.write(block.text)

    def adopt(self) -> "Adopter":
        """Write all files of the manual's page."""
        for block in blocks_of(ADOPTING):
            if block.is_a_file:
                self.write(block)
        return self

    def add_settings(self, name: str, *lines: str) -> str:
        """Variants of the project's settings; returns the module's name."""
        text = "\n".join(["from mysite.settings import *", *lines, ""])
        (self.folder / "mysite" / f"{name}.py").write_text(text)
        return f"mysite.{name}"

    def manage(self, *lines: str, settings: str = "mysite.settings") -> subprocess.CompletedProcess[str]:
        """Execute one line of ``manage.py`` after another, in one process, up to the first that fails."""
        return self.execute("-c", EXECUTE_LINES, *lines, settings=settings)

    def execute(self, *arguments: str, settings: str = "mysite.settings") -> subprocess.CompletedProcess[str]:
        """Run Python with the project's settings."""
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([*map(str, self.path), "."]),
            "DJANGO_COLORS": "nocolor",
            **({"DJANGO_SETTINGS_MODULE": settings} if settings else {}),
        }
        return subprocess.run(
            [*self.python, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
