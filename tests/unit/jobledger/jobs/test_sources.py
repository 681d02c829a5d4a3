"""A command's source shows that it is not a job, or else it may be one."""

from importlib import import_module
from pathlib import Path
from textwrap import dedent

import pytest
from django.apps import apps
from django.core.management import find_commands

from jobledger.jobs import sources
from jobledger.jobs.declaration import JobDeclaration

DJANGOS = "from django.core.management.base import BaseCommand"
OURS = "from jobledger import JobCommand"


class Package:
    """An app that is only written, not imported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("management/commands/__init__.py", "")
        self.write("management/__init__.py", "")
        self.write("__init__.py", "")

    def write(self, file: str, source: str) -> None:
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source))

    def may_be_job(self, source: str) -> bool:
        self.write("management/commands/mine.py", source)
        sources._names_in.cache_clear()
        sources._file_of.cache_clear()
        return sources.may_be_job(self.folder.name, str(self.folder), "mine")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Package(tmp_path / f"written_{tmp_path.name.replace('-', '_')}")


@pytest.mark.parametrize(
    "source",
    [
        f"{DJANGOS}\nclass Command(BaseCommand): ...",
        "from django.core import management\nclass Command(management.BaseCommand): ...",
        "import django.core.management.base as b\nclass Command(b.BaseCommand): ...",
        "import django.core.management\nclass Command(django.core.management.base.BaseCommand): ...",
        f"{DJANGOS}\nclass Mixin: ...\nclass Command(Mixin, BaseCommand): ...",
        "from django.contrib.auth.management.commands.createsuperuser import Command",
        "class Command(object): ...",
        "class Command: ...",
        f"{DJANGOS}\nraise SystemExit\nclass Command(BaseCommand): ...",
    ],
)
def test_a_command_without_our_classes_is_no_job(package: Package, source: str) -> None:
    assert not package.may_be_job(source)


@pytest.mark.parametrize(
    "source",
    [
        f"{OURS}\nclass Command(JobCommand): ...",
        "import jobledger\nclass Command(jobledger.JobCommand): ...",
        "from jobledger.command import JobCommand as Job\nclass Base(Job): ...\nclass Command(Base): ...",
        f"{DJANGOS}\n{OURS}\nclass Mixin(JobCommand): ...\nclass Command(Mixin, BaseCommand): ...",
        f"""
        try:
            from jobledger import JobCommand as Base
        except ImportError:
            {DJANGOS} as Base
        class Command(Base): ...
        """,
    ],
)
def test_a_command_with_one_of_our_classes_may_be_a_job(package: Package, source: str) -> None:
    assert package.may_be_job(source)


@pytest.mark.parametrize(
    "source",
    [
        "this is not Python",
        "Command = make()",
        "from elsewhere import *",
        "from elsewhere import Command",
        "class Command(base()): ...",
        "Base = make()\nclass Command(Base): ...",
        f"{DJANGOS}\n@replace\nclass Command(BaseCommand): ...",
        f"{DJANGOS}\nfrom elsewhere import BaseCommand\nclass Command(BaseCommand): ...",
        f"{DJANGOS}\nfrom elsewhere import Base as BaseCommand\nclass Command(BaseCommand): ...",
        f"{DJANGOS}\nclass Command(BaseCommand): ...\nclass Command(make()): ...",
        f"{DJANGOS}\nclass Command(BaseCommand): ...\nfrom elsewhere import Command",
        "from ........ import Command",
        "from sys import Command",
    ],
)
def test_a_command_whose_source_does_not_tell_may_be_a_job(package: Package, source: str) -> None:
    assert package.may_be_job(source)


@pytest.mark.parametrize(
    ("source", "is_job"),
    [
        (f"{OURS}\nclass Command(JobCommand): ...", True),
        (f"{DJANGOS}\nclass Command(BaseCommand): ...", False),
        (
            "from django.core.management import BaseCommand, call_command\nclass Command(BaseCommand): ...",
            False,
        ),
    ],
)
def test_the_usual_commands_are_not_parsed(
    package: Package, source: str, is_job: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("ast.parse")
    assert package.may_be_job(source) is is_job


def test_the_runserver_of_whitenoise_is_not_imported() -> None:
    app = apps.get_app_config("runserver_nostatic")
    assert not sources.may_be_job(app.name, app.path, "runserver")


@pytest.mark.parametrize(("base", "is_job"), [("JobCommand", True), ("BaseCommand", False)])
@pytest.mark.parametrize(
    "importing",
    [
        "from {app}.base import Base",
        "from ...base import Base",
        "from {app} import Base",
        "from {app}.other import Base",
        "from {app} import base\nclass Base(base.Base): ...",
    ],
)
def test_a_base_is_looked_up_in_its_own_module(
    package: Package, importing: str, base: str, is_job: bool
) -> None:
    package.write("base.py", f"{OURS}\n{DJANGOS}\nclass Base({base}): ...")
    package.write("__init__.py", "from .base import Base")
    package.write("other.py", "from . import Base")
    importing = importing.format(app=package.folder.name)
    assert package.may_be_job(f"{importing}\nclass Command(Base): ...") is is_job


def test_classes_that_inherit_from_each_other_end_the_search(package: Package) -> None:
    package.write("base.py", "from .other import Base")
    package.write("other.py", "from .base import Base")
    assert not package.may_be_job("from ...base import Base\nclass Command(Base): ...")


@pytest.mark.parametrize("app_label", ["probes", "tasks_app"])
def test_no_job_of_the_project_is_overlooked(app_label: str) -> None:
    app = apps.get_app_config(app_label)
    for command in find_commands(f"{app.path}/management"):
        imported = import_module(f"{app.name}.management.commands.{command}").Command
        is_job = issubclass(imported, JobDeclaration)
        assert sources.may_be_job(app.name, app.path, command) is is_job, command
