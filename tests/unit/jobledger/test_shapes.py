"""Commands of all shapes that people have work in all ways to start a job, or a check says which does not."""

import io
import uuid
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

import pytest
from celery import current_app
from django.core.management.base import AppCommand, BaseCommand, LabelCommand
from django.utils.translation import gettext_lazy

from jobledger import JobCommand, management
from jobledger.admin.options.form import OptionsForm
from jobledger.checks import options as checks
from jobledger.jobs import registry
from jobledger.models import Run, RunOutput, Trigger
from jobledger.runs.execution import runner
from jobledger.runs.execution.coroutines import awaited
from tests.shapes.table import SHAPES, Shape
from tests.unit.jobledger.admin.options.browser import submitted_data
from tests.unit.jobledger.jobs.builders import a_job
from tests.unit.jobledger.jobs.options.parsers import Argument, arg

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]


@pytest.fixture(params=SHAPES, ids=str)
def shape(request: pytest.FixtureRequest) -> Shape:
    found: Shape = request.param
    return found


@pytest.fixture(autouse=True)
def kept_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """``run_from_argv`` closes them, and with them the transaction of the test."""
    monkeypatch.setattr("django.core.management.base.connections.close_all", lambda: None)


@pytest.fixture(autouse=True)
def no_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their warnings would be among a command's output."""
    monkeypatch.setattr(BaseCommand, "check", lambda self, **kwargs: None)


def output_of(run: Run) -> str:
    return "".join(RunOutput.objects.filter(run=run).in_order().values_list("text", flat=True))


def execute(job: str, **options: Any) -> Run:
    run = Run.objects.create(job=job, options=options, trigger=Trigger.SCHEDULE)
    ended = runner.execute(run.pk, worker="w")
    assert ended is not None
    return ended.run


def test_the_form_keeps_its_options(shape: Shape) -> None:
    job = registry.find(shape.job)
    form = OptionsForm(job, shape.options, submitted_data(OptionsForm(job, shape.options)))
    assert form.is_valid(), form.errors
    assert (form.options, form.unknown_options) == (shape.options, [])


def test_a_worker_runs_it(shape: Shape) -> None:
    run = execute(shape.job, **shape.options)
    assert (run.status, run.error, output_of(run)) == ("succeeded", "", shape.output)
    assert Run.objects.count() == 1


def test_a_celery_call_runs_it(shape: Shape) -> None:
    current_app.loader.import_default_modules()
    task = current_app.tasks[registry.find(shape.job).task_name]
    called = str(uuid.uuid4())
    task.push_request(id=called, hostname="celery@here", headers={}, args=[], kwargs=shape.options)
    try:
        task.run(**shape.options)
    finally:
        task.pop_request()
    run = Run.objects.get(pk=called)
    assert (run.status, run.options, output_of(run)) == ("succeeded", shape.options, shape.output)


def test_the_command_line_runs_it_and_records_what_a_worker_can_run_again(
    shape: Shape, capsys: pytest.CaptureFixture[str]
) -> None:
    management.execute_from_command_line(["manage.py", shape.job, *shape.line])
    run = Run.objects.get()
    assert capsys.readouterr() == (shape.output, "")
    assert (run.job, run.status, run.options) == (shape.job, "succeeded", shape.options)
    assert output_of(run) == shape.output
    assert output_of(execute(shape.job, **run.options)) == shape.output


# What goes wrong is reported


def plain(handle: Any) -> BaseCommand:
    command: BaseCommand = type("Command", (BaseCommand,), {"handle": handle})()
    return command


async def fails(self: BaseCommand, *args: Any, **options: Any) -> None:
    raise LookupError("not there")


def yields(self: BaseCommand, *args: Any, **options: Any) -> Iterator[str]:
    yield "never printed"


def test_an_error_of_a_coroutine_is_raised() -> None:
    command = plain(fails)
    with awaited(command), pytest.raises(LookupError, match="not there"):
        command.handle()
    assert "handle" not in vars(command)


def test_a_generator_is_not_mistaken_for_a_success() -> None:
    command = plain(yields)
    with awaited(command), pytest.raises(TypeError, match="contains `yield`"):
        command.handle()


async def handles(self: BaseCommand, given: Any, **options: Any) -> str:
    return f"awaited {getattr(given, 'label', given)}"


LABELS = [(LabelCommand, "handle_label", ["a", "b"]), (AppCommand, "handle_app_config", ["sessions", "auth"])]


@pytest.mark.parametrize(("base", "name", "args"), LABELS)
def test_a_coroutine_for_each_argument_is_awaited(
    base: type[BaseCommand], name: str, args: list[str]
) -> None:
    command = type("Command", (base,), {name: handles})()
    with awaited(command):
        assert command.handle(*args) == f"awaited {args[0]}\nawaited {args[1]}"
    assert name not in vars(command)


@pytest.mark.parametrize(("base", "name", "args"), LABELS)
def test_a_generator_for_each_argument_is_not_mistaken_for_a_success(
    base: type[BaseCommand], name: str, args: list[str]
) -> None:
    command = type("Command", (base,), {name: yields})()
    with awaited(command), pytest.raises(TypeError, match=rf"{name}\(\) contains `yield`"):
        command.handle(*args)


def test_a_command_may_await_its_own_coroutine_for_each_argument() -> None:
    async def handle(self: LabelCommand, *labels: str, **options: Any) -> str:
        return " ".join([await self.handle_label(label) for label in labels])  # type: ignore[misc]

    command = type("Command", (LabelCommand,), {"handle": handle, "handle_label": handles})()
    with awaited(command):
        assert command.handle("a", "b") == "awaited a awaited b"


def returns(result: Any) -> Any:
    return lambda self, *args, **options: result


@pytest.mark.parametrize(("result", "kind"), [(5, "int"), (["a"], "list"), (b"a", "bytes")])
def test_a_result_that_cannot_be_output_is_a_clear_error(result: Any, kind: str) -> None:
    text = rf"handle\(\) returned an object of type {kind}. Its result is output, so it must be a string"
    with awaited(command := plain(returns(result))), pytest.raises(TypeError, match=text):
        command.handle()


def test_so_is_one_for_an_argument() -> None:
    command = type("Command", (LabelCommand,), {"handle_label": returns(5)})()
    with awaited(command), pytest.raises(TypeError, match=r"handle_label\(\) returned an object of type int"):
        command.handle("a")


@pytest.mark.parametrize("result", [None, "", 0, [], "text", gettext_lazy("text")])
def test_any_other_result_is_returned(result: Any) -> None:
    with awaited(command := plain(returns(result))):
        assert command.handle() == result


@pytest.mark.parametrize(
    ("job", "text"), [("asynchronous", "returned an object of type int"), ("asynchronous_plain", "endswith")]
)
def test_on_the_command_line_only_a_job_of_ours_fails_differently(
    job: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.find(job).command_class, "handle", returns(5))
    with pytest.raises((TypeError, AttributeError), match=text):
        management.execute_from_command_line(["manage.py", job])
    assert text in Run.objects.get().error


def test_a_worker_names_a_result_that_cannot_be_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.find("asynchronous_plain").command_class, "handle", returns(5))
    run = execute("asynchronous_plain")
    assert run.status == "failed"
    assert "returned an object of type int" in run.error


@pytest.mark.parametrize("how", ["input", "getpass"])
@pytest.mark.filterwarnings("ignore::getpass.GetPassWarning")
def test_a_question_in_a_worker_fails_at_once(how: str) -> None:
    run = execute("asking", how=how)
    assert run.status == "failed"
    assert "NoTerminalError: a job has no terminal" in run.error


@pytest.mark.parametrize("how", ["read", "lines", "subprocess"])
def test_the_standard_input_of_a_job_in_a_worker_is_empty(how: str) -> None:
    run = execute("asking", how=how)
    assert (run.status, output_of(run)) == ("succeeded", "read ''\n")


def test_a_question_on_the_command_line_can_be_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("ann\n"))
    management.execute_from_command_line(["manage.py", "asking", "input"])
    assert capsys.readouterr().out == "Who are you? read 'ann'\n"


# Checks

FAULTS: list[tuple[list[Argument], str]] = [
    ([arg("--x", type=bool)], "has an option, --x, that uses type=bool"),
    ([arg("x", type=bool)], "has an option, x, that uses type=bool"),
    ([arg("--x", choices=iter("ab"), metavar="X")], "that has choices that can be read only once"),
    ([arg("--out", dest="stdout")], "has an option, --out, that has the dest stdout, which Django uses"),
    ([arg("--conf", dest="settings")], "that has the dest settings, which Django uses for itself"),
    ([arg("self")], "has an option, self, that has the dest self, which no Celery message can give"),
    (
        [arg("-l", action="count", dest="x"), arg("--x", type=int)],
        "has an option, --x, that shares its dest, x, with an option of another kind",
    ),
]


@pytest.mark.parametrize(("arguments", "text"), FAULTS)
def test_an_option_that_does_not_work_in_all_ways_is_reported(arguments: list[Argument], text: str) -> None:
    (fault,) = checks.faults_of(a_job(*arguments))
    assert text in fault.text
    assert fault.hint


def test_subcommands_that_no_option_chooses_are_reported() -> None:
    def build(parser: ArgumentParser) -> None:
        parser.add_subparsers().add_parser("one").add_argument("--deep", type=bool)

    assert [fault.text.split(" that ")[0] for fault in checks.faults_of(a_job(build=build))] == [
        "has subcommands without a name for the option",
        "has an option, --deep,",
    ]


def test_a_job_that_cannot_tell_its_options_is_reported() -> None:
    def build(parser: ArgumentParser) -> None:
        raise OSError("no such file")

    (fault,) = checks.faults_of(a_job(build=build))
    assert fault.text == "cannot tell its options: OSError: no such file"


@pytest.mark.parametrize(
    ("attribute", "check", "text"),
    [
        ("worker_options", "jobledger.W021", "leaves file to its worker, but has no such option"),
        ("secret_options", "jobledger.W009", "declares file as secret, but has no such option"),
    ],
)
def test_an_option_that_the_job_names_but_does_not_have_is_reported(
    attribute: str, check: str, text: str
) -> None:
    declared: dict[str, Any] = {attribute: ["path", "file"]}
    (fault,) = checks.faults_of(a_job(arg("--path"), **declared))
    assert (fault.id, fault.text) == (check, text)
    assert fault.hint.startswith(f"{attribute} must contain the dest of each option")


def test_a_handle_that_yields_is_reported() -> None:
    job = a_job()
    job.command_class.handle = yields  # type: ignore[method-assign,assignment]
    (fault,) = checks.faults_of(job)
    assert "contains `yield`" in fault.text


def test_what_works_is_not_reported() -> None:
    named = {
        job.name: [fault.text for fault in checks.faults_of(job)] for job in registry.all_jobs().values()
    }
    reported = named.pop("shape-options")
    assert [text.split(",")[1].strip() for text in reported] == ["--flag", "--computed"]
    assert not any(named.values())


def test_the_options_of_a_job_in_the_help_are_its_own_besides_ours() -> None:
    strings = {
        string
        for action in JobCommand().create_parser("manage.py", "x")._actions
        for string in action.option_strings
    }
    assert {"--wait", "--allow-overlap"} <= strings
