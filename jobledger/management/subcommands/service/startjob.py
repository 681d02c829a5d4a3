"""``jobledger startjob``: writes a new job and its test into one of the project's apps."""

import keyword
import re
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.apps import AppConfig, apps
from django.core.management import get_commands
from django.core.management.base import CommandError
from django.template import Context, Engine

import jobledger
from jobledger.jobs import registry
from jobledger.management.operator_command import OperatorCommand

MAX_NAME_LENGTH = 80
"""So that the permission to start the job, which has its name, fits Django's table."""
COMMANDS = ("management", "commands")
"""Django's folder for commands, in an app."""
_TEMPLATES = Path(jobledger.__file__).parent / "templates" / "jobledger" / "startjob"


class Command(OperatorCommand):
    """Never changes a file that exists: it writes everything, or nothing."""

    help = "Write a new job and its test, both of which work at once. Prints what to do next."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "name", help="The job's name, which is also the command's, such as send_invoices."
        )
        parser.add_argument(
            "--app",
            metavar="APP",
            help="The label or the name of the app to which it is added. Default: the project's only app, or "
            "the only one that has jobs, or a folder for commands.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        name = _valid(options["name"])
        app = _app(options["app"])
        _reject_existing(name)
        job = Path(app.path, *COMMANDS, f"{name}.py")
        test = _test_file(Path(app.path), name)
        write({**dict.fromkeys(_missing_packages(app, job, test), ""), **_rendered(name, job, test)})
        for path in job, test:
            self.say(f"Created {_relative(path)}")
        for line in _next_steps(name, _test_label(app, test)):
            self.say(line)


def write(files: Mapping[Path, str]) -> None:
    """Write all of these new files, or none. Raises CommandError; an existing file is left alone."""
    created: list[Path] = []
    try:
        for path, text in files.items():
            for folder in reversed([each for each in path.parents if not each.exists()]):
                folder.mkdir()
                created.append(folder)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                created.append(path)
                file.write(text)
    except OSError as error:
        _remove(reversed(created))
        if isinstance(error, FileExistsError):
            raise CommandError(f"{_relative(path)} exists already. Nothing was changed.") from error
        raise CommandError(
            f"Cannot write {_relative(path)}: {error.strerror}. Nothing was changed."
        ) from error


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()


# Its name


def _valid(name: str) -> str:
    if re.fullmatch("[a-z][a-z0-9_]*", name) is None:
        problem = f"use lower-case letters, digits and underscores, as in {_similar_name(name)}"
    elif keyword.iskeyword(name):
        problem = "it is a keyword of Python"
    elif len(name) > MAX_NAME_LENGTH:
        problem = f"it is longer than {MAX_NAME_LENGTH} characters"
    else:
        return name
    raise CommandError(f"{name!r} cannot be the name of a job: {problem}.")


def _similar_name(name: str) -> str:
    words = re.sub("([a-z0-9])([A-Z])", r"\1_\2", name).lower()
    similar = re.sub("[^a-z0-9]+", "_", words).strip("_")
    return similar if re.match("[a-z]", similar) and not keyword.iskeyword(similar) else "send_invoices"


def _reject_existing(name: str) -> None:
    if owner := get_commands().get(name):
        raise CommandError(f"There is a command {name!r} already, in {owner}: choose another name.")


# Its app


def _app(given: str | None) -> AppConfig:
    own = {app.label: app for app in registry.own_apps() if app.name != jobledger.__name__}
    if given is not None:
        return _given_app(given, own)
    with_jobs = {job.app_label for job in registry.all_jobs().values()}
    with_commands = {label for label, app in own.items() if Path(app.path, *COMMANDS).is_dir()}
    for candidates in (own.keys(), own.keys() & with_jobs, with_commands):
        if len(candidates) == 1:
            return own[next(iter(candidates))]
    if not own:
        raise CommandError(
            "This project has no app of its own: create one with `manage.py startapp NAME`, and add it to "
            "INSTALLED_APPS."
        )
    raise CommandError(f"This project has several apps: choose one with --app: {', '.join(sorted(own))}.")


def _given_app(given: str, own: Mapping[str, AppConfig]) -> AppConfig:
    found = [app for app in apps.get_app_configs() if given in (app.label, app.name)]
    if not found:
        hint = registry.suggestion(given, own) or f"Its own apps are: {', '.join(sorted(own)) or 'none'}."
        raise CommandError(f"--app: there is no app {given!r} in INSTALLED_APPS. {hint}")
    if found[0].label not in own:
        hint = f"Choose one of: {', '.join(sorted(own))}" if own else "This project has no app of its own"
        raise CommandError(
            f"--app: {given!r} is a library, in {found[0].path}, not an app of this project. {hint}."
        )
    return found[0]


# Its files


def _test_file(app: Path, name: str) -> Path:
    """Where the app's tests are: in its folder ``tests``, or beside its models."""
    folder = app / "tests"
    is_beside = not folder.is_dir() and any(app.glob("test*.py"))
    return (app if is_beside else folder) / f"test_{name}.py"


def _missing_packages(app: AppConfig, *files: Path) -> Iterator[Path]:
    """The ``__init__.py`` of each folder that does not exist yet."""
    for file in files:
        inside = [folder for folder in file.parents if folder.is_relative_to(app.path)]
        yield from (folder / "__init__.py" for folder in inside if not folder.exists())


def _rendered(name: str, job: Path, test: Path) -> Mapping[Path, str]:
    engine = Engine(dirs=[str(_TEMPLATES)], autoescape=False)
    context = Context({"name": name, "class_name": name.title().replace("_", "")}, autoescape=False)
    return {
        path: engine.get_template(template).render(context)
        for path, template in ((job, "job.py-tpl"), (test, "test.py-tpl"))
    }


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


# What to do next


def _test_label(app: AppConfig, test: Path) -> str:
    """The argument of ``manage.py test``: a module or, outside packages, a folder."""
    if not (test.parent / "__init__.py").exists():
        return str(_relative(test.parent))
    return ".".join([app.name, *test.relative_to(app.path).with_suffix("").parts])


def _next_steps(name: str, test_label: str) -> Iterator[str]:
    steps = {
        f"{name} --dry-run": "run it here; every run is on record",
        f"jobledger runs --job {name}": "see its runs",
        f"test {test_label}": "run its test",
        f"jobledger call {name}": "let a worker run it, once workers and beat were restarted",
    }
    width = max(map(len, steps))
    yield "Next:"
    for line, meaning in steps.items():
        yield f"  python manage.py {line:{width}}  # {meaning}"
    yield f"Add a schedule for {name} in the admin, under Schedules."
