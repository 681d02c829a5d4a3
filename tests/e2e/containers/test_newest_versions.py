"""The service works with the newest Python and Django that it claims to support, and with the next Django."""

import os
import re
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from tests.adopter import Adopter
from tests.manual import ROOT
from tests.versions import install, try_it

NEWEST = "6.0"
NEXT = "6.1"
"""Not claimed yet: nothing but the requirements of django-celery-beat stands against it."""
IMAGE, PYTHON = re.findall(r"(?m)^FROM (python:(\d+\.\d+)\S*)", (ROOT / "Dockerfile").read_text())[-1]
PACKAGES = Path(sysconfig.get_path("purelib"))
"""Those of the tests' own Python. None that the service needs is compiled for only that version."""


@pytest.fixture
def django(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with this Django, whichever Python runs the tests."""
    folder = tmp_path_factory.mktemp("django")
    install(folder, "--no-deps", "--ignore-requires-python", f"Django=={request.param}.*")
    return folder


def in_container(folder: Path, django: Path) -> tuple[str, ...]:
    """Python of the service's image, with these directories where they are here."""
    mounts = [f"{folder}:{folder}", *(f"{path}:{path}:ro" for path in (django, PACKAGES, ROOT))]
    variables = ("PYTHONPATH", "DJANGO_SETTINGS_MODULE", "DJANGO_COLORS", "PYTHONDONTWRITEBYTECODE=1")
    options = [
        *(part for mount in mounts for part in ("--volume", mount)),
        *(part for variable in variables for part in ("--env", variable)),
        *("--user", f"{os.getuid()}:{os.getgid()}", "--workdir", str(folder), "--network", "none"),
    ]
    return ("docker", "run", "--rm", *options, IMAGE, "python", "-S")


@pytest.mark.parametrize("django", [NEWEST, NEXT], indirect=True)
def test_the_newest_python_and_django_work_and_the_next(django: Path, tmp_path: Path) -> None:
    project = Adopter(folder=tmp_path).start_project().adopt()
    path = (django, ROOT, PACKAGES)
    try_it(replace(project, python=in_container(tmp_path, django), path=path), framework="django.tasks.base")
