"""``jobledger startjob`` writes a job and its test, or says why it does not."""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from pytest_django import Settings

from jobledger.jobs import registry
from jobledger.models import Run
from tests.unit.builders import output_of

JOB = "management/commands/send_invoices.py"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[Path]:
    """An app of the project, as empty as an app can be."""
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "shop"]
    yield folder
    sys.modules.pop("shop", None)


def start(*words: str, app: str = "shop") -> str:
    return output_of("jobledger", "startjob", *words, "--app", app)


def names(folder: Path) -> list[str]:
    """Of its files and folders; Python may have compiled some."""
    return sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")


def files(folder: Path) -> dict[str, str]:
    found = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


def test_it_writes_a_job_and_a_test_with_all_packages_that_are_missing(shop: Path) -> None:
    start("send_invoices")
    written = files(shop)
    packages = ["", "management/", "management/commands/", "tests/"]
    assert set(written) == {*(f"{each}__init__.py" for each in packages), JOB, "tests/test_send_invoices.py"}
    assert "class Command(JobCommand):" in written[JOB]
    assert 'call_command("send_invoices", ' in written["tests/test_send_invoices.py"]
    assert "class SendInvoicesTests(TestCase):" in written["tests/test_send_invoices.py"]
    for text in written.values():
        compile(text, "written", "exec")


def test_the_job_works_on_the_day_of_its_scheduled_time_in_the_projects_time_zone(
    shop: Path, settings: Settings
) -> None:
    start("send_invoices")
    written: dict[str, Any] = {}
    exec(files(shop)[JOB], written)  # it is not imported, which would register it
    settings.TIME_ZONE = "Asia/Tokyo"
    output = StringIO()
    job = written["Command"](stdout=output)
    job.run = Run(scheduled_for=datetime(2026, 3, 1, 21, 30, tzinfo=UTC))
    job.handle(dry_run=False)
    assert output.getvalue() == "Did the work of 2026-03-02\n"


@pytest.mark.parametrize(
    ("existing", "test", "label"),
    [
        ((), "tests/test_send_invoices.py", "shop.tests.test_send_invoices"),
        (("tests/__init__.py",), "tests/test_send_invoices.py", "shop.tests.test_send_invoices"),
        (("tests.py",), "test_send_invoices.py", "shop.test_send_invoices"),
        (("test_models.py",), "test_send_invoices.py", "shop.test_send_invoices"),
        (("tests.py", "tests/__init__.py"), "tests/test_send_invoices.py", "shop.tests.test_send_invoices"),
        (("tests/test_models.py",), "tests/test_send_invoices.py", "shop/tests"),
    ],
)
def test_the_test_is_where_the_apps_tests_are(
    shop: Path, existing: tuple[str, ...], test: str, label: str
) -> None:
    for name in existing:
        (shop / name).parent.mkdir(exist_ok=True)
        (shop / name).write_text("# mine\n")
    printed = start("send_invoices")
    written = files(shop)
    assert test in written
    assert {written[name] for name in existing} <= {"# mine\n"}
    assert f"Created shop/{test}\n" in printed
    assert f"python manage.py test {label} " in printed


def test_packages_that_exist_are_left_as_they_are(shop: Path) -> None:
    (shop / "management").mkdir()
    (shop / "management" / "__init__.py").write_text("# mine\n")
    (shop / "tests").mkdir()
    start("send_invoices")
    written = files(shop)
    assert written["management/__init__.py"] == "# mine\n"
    assert "management/commands/__init__.py" in written
    assert "tests/__init__.py" not in written


def test_it_says_what_it_wrote_and_what_to_do_next(shop: Path) -> None:
    printed = start("send_invoices")
    assert printed.startswith(f"Created shop/{JOB}\nCreated shop/tests/test_send_invoices.py\nNext:\n")
    for line in (
        "send_invoices --dry-run",
        "jobledger runs --job send_invoices",
        "jobledger call send_invoices",
    ):
        assert f"  python manage.py {line} " in printed


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("send-invoices", "use lower-case letters, digits and underscores, as in send_invoices."),
        ("SendInvoices", "use lower-case letters, digits and underscores, as in send_invoices."),
        ("send invoices!", "as in send_invoices."),
        ("../evil", "as in evil."),
        ("2fast", "as in send_invoices."),
        ("_private", "as in private."),
        ("größe", "as in gr_e."),
        ("Class", "as in send_invoices."),
        ("", "as in send_invoices."),
        ("class", "it is a keyword of Python."),
        ("x" * 81, "it is longer than 80 characters."),
    ],
)
def test_a_name_that_no_job_can_have_is_an_error_that_suggests_another(
    shop: Path, name: str, problem: str
) -> None:
    with pytest.raises(CommandError, match="cannot be the name of a job: ") as raised:
        start(name)
    assert str(raised.value).endswith(problem)
    assert list(files(shop)) == ["__init__.py"]


@pytest.mark.parametrize(
    ("name", "owner"), [("flush", "django.core"), ("hello", "tasks_app"), ("jobledger", "jobledger")]
)
def test_the_name_of_any_apps_command_is_taken(shop: Path, name: str, owner: str) -> None:
    with pytest.raises(CommandError, match=f"There is a command '{name}' already, in {owner}"):
        start(name)
    assert list(files(shop)) == ["__init__.py"]


@pytest.mark.parametrize(
    ("app", "problem"),
    [
        ("shpo", "there is no app 'shpo' in INSTALLED_APPS. Did you mean shop or shapes?"),
        ("unheard", "there is no app 'unheard' in INSTALLED_APPS. Its own apps are: probes, "),
        ("sessions", "'sessions' is a library, in "),
        ("django.contrib.sessions", "'django.contrib.sessions' is a library, in "),
        ("jobledger", "'jobledger' is a library, in "),
    ],
)
def test_an_app_that_is_not_the_projects_own_is_an_error(shop: Path, app: str, problem: str) -> None:
    with pytest.raises(CommandError, match="--app: ") as raised:
        start("send_invoices", app=app)
    assert problem in str(raised.value)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels of the project's own apps, for tests to add to."""
    labels = ["jobledger"]
    monkeypatch.setattr(registry, "own_apps", lambda: [apps.get_app_config(label) for label in labels])
    return labels


def test_the_only_app_needs_no_mention(shop: Path, own: list[str]) -> None:
    own.append("shop")
    call_command("jobledger", "startjob", "send_invoices", verbosity=0)
    assert JOB in files(shop)


def test_of_several_apps_the_only_one_with_jobs_is_taken(
    shop: Path, own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own += ["sign_in", "shop"]
    job = registry.find("probe")
    jobs = {"old": registry.Job(**{**vars(job), "name": "old", "app_label": "shop"})}
    monkeypatch.setattr(registry, "all_jobs", lambda: jobs)
    output_of("jobledger", "startjob", "send_invoices")
    assert JOB in files(shop)


def test_of_several_apps_without_jobs_the_only_one_with_a_folder_for_commands_is_taken(
    shop: Path, own: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the samples were removed, but not their folder."""
    own += ["sign_in", "shop"]
    monkeypatch.setattr(registry, "all_jobs", dict)
    (shop / "management" / "commands").mkdir(parents=True)
    output_of("jobledger", "startjob", "send_invoices")
    assert JOB in files(shop)


def test_of_several_apps_one_has_to_be_chosen(shop: Path, own: list[str]) -> None:
    own += ["tasks_app", "probes", "shop"]
    with pytest.raises(CommandError, match=r"several apps: choose one with --app: probes, shop, tasks_app\."):
        output_of("jobledger", "startjob", "send_invoices")


def test_without_an_app_it_says_how_to_get_one(own: list[str]) -> None:
    with pytest.raises(CommandError, match=r"no app of its own: create one with `manage\.py startapp NAME`"):
        output_of("jobledger", "startjob", "send_invoices")


@pytest.mark.parametrize(
    ("existing", "problem"),
    [
        (JOB, "There is a command 'send_invoices' already, in shop"),
        (
            "tests/test_send_invoices.py",
            "shop/tests/test_send_invoices.py exists already. Nothing was changed.",
        ),
    ],
)
def test_a_file_that_exists_is_not_changed_and_nothing_else_is_written(
    shop: Path, existing: str, problem: str
) -> None:
    (shop / existing).parent.mkdir(parents=True)
    (shop / existing).write_text("# mine\n")
    before = files(shop)
    with pytest.raises(CommandError, match=re.escape(problem)):
        start("send_invoices")
    assert files(shop) == before
    assert names(shop) == ["__init__.py", existing.split("/", maxsplit=1)[0]]


def test_a_folder_that_cannot_be_written_is_an_error_and_nothing_is_left(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = Path.mkdir

    def read_only(folder: Path) -> None:
        if folder.name == "tests":
            raise OSError(30, "Read-only file system")
        mkdir(folder)

    monkeypatch.setattr(Path, "mkdir", read_only)
    with pytest.raises(
        CommandError, match=r"Cannot write shop/tests/\S+: Read-only file system\. Nothing was"
    ):
        start("send_invoices")
    assert names(shop) == ["__init__.py"]
