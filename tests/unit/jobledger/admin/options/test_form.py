"""The form for a job's options, which is generated from its parser and validated by it."""

from argparse import REMAINDER, SUPPRESS, Action, ArgumentParser, BooleanOptionalAction
from typing import Any, cast

import pytest
from django.forms import Select
from django.http import QueryDict

from jobledger.admin.options.form import OptionsForm
from jobledger.admin.options.widgets import OptionalText
from jobledger.jobs import registry
from jobledger.jobs.secrets import MASK
from tasks_app.parser_types import whole_number
from tests.unit.builders import invalid_choice
from tests.unit.jobledger.admin.options.browser import submitted_data, submitted_form
from tests.unit.jobledger.jobs.builders import a_job
from tests.unit.jobledger.jobs.options.parsers import Argument, arg

CHOICES = arg("--level", type=int, choices=[1, 2, 3], default=1)
HUGE = f"1{'0' * 400}"
"""A whole number that no float can hold."""


class Custom(Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest) or []), values])


@pytest.mark.parametrize(
    ("argument", "typed", "value"),
    [
        (arg("--x"), "a", "a"),
        (arg("x"), "-a", "-a"),
        (arg("--x", type=int), "7", 7),
        (arg("--x", type=whole_number(0, 9)), "7", 7),
        (arg("--x", type=int), HUGE, HUGE),
        (arg("--x", type=whole_number(0, 10**500)), HUGE, HUGE),
        (arg("--x", type=float), "0.5", 0.5),
        (arg("--x", default="d"), '""', ""),
        (arg("--x", type=int, choices=[1, 2]), "2", 2),
        (arg("--x", choices=["", "a b"]), '""', ""),
        (arg("--x", action="store_true"), True, True),
        (arg("--x", action="store_false"), True, False),
        (arg("--x", action="store_const", const="c"), True, "c"),
        (arg("--x", action=BooleanOptionalAction), "false", False),
        (arg("--x", action="count"), "3", 3),
        (arg("--x", action="append"), "a\nb", ["a", "b"]),
        (arg("--x", action="append", nargs=2), 'a "b c"\nd e', [["a", "b c"], ["d", "e"]]),
        (arg("--x", action="append_const", const="c"), ["c"], ["c"]),
        (arg("--x", action="extend", nargs="+"), "a\nb", ["a", "b"]),
        (arg("--x", nargs="+", choices=["a", "b", "c"]), ["a", "c"], ["a", "c"]),
        (arg("--x", nargs="+", type=whole_number(0, 9)), "1\n2", [1, 2]),
        (arg("--x", nargs=2), "a\nb", ["a", "b"]),
        (arg("--x", nargs="*"), OptionalText(is_bare=True), []),
        (arg("--x", nargs="*"), OptionalText(text="a\n\nb"), ["a", "b"]),
        (arg("--x", nargs="?", const="c"), OptionalText(is_bare=True), True),
        (arg("--x", nargs="?", const="c"), OptionalText(text="a"), "a"),
        (arg("--x", nargs="?", const="c", choices=["c", "d"]), '"', True),
        (arg("x", nargs="?"), "a", "a"),
        (arg("x", nargs=REMAINDER), "a\n--b", ["a", "--b"]),
        (arg("--x", type=bool), "false", False),
        (arg("--x", type=bool), "true", True),
        (arg("--x", action=Custom), "a", "a"),
        (arg("--x", action=Custom), "a\nb", ["a", "b"]),
        (arg("--x", action=Custom, nargs=2), '["a", "b"]', ["a", "b"]),
    ],
)
def test_a_field_accepts_what_its_argument_accepts(argument: Argument, typed: Any, value: Any) -> None:
    form = submitted_form(a_job(argument), {}, x=typed)
    assert form.is_valid(), form.errors
    assert form.options == {"x": value}


def test_flags_with_the_same_dest_share_one_select() -> None:
    flags = [arg(f"--{mode}", dest="mode", action="store_const", const=mode) for mode in ("fast", "slow")]
    form = submitted_form(a_job(*flags), {"mode": "slow"})
    choices = [("", "not given"), ('"fast"', "--fast"), ('"slow"', "--slow")]
    assert cast("Select", form.fields["mode"].widget).choices == choices
    assert (form.initial["mode"], form.is_valid(), form.options) == ('"slow"', True, {"mode": "slow"})


def test_a_default_is_shown_but_not_stored() -> None:
    form = submitted_form(a_job(arg("--days", type=int, default=30, help="How many.")), {})
    assert (form.is_valid(), form.options) == (True, {})
    assert 'placeholder="30"' in str(form["days"])
    assert form["days"].help_text == "How many. Default: 30."


def test_a_default_in_the_help_text_is_not_repeated() -> None:
    form = OptionsForm(a_job(arg("--days", default=30, help="At 100%%, %(default)s days.")), {})
    assert form["days"].help_text == "At 100%, 30 days."


@pytest.mark.parametrize(("stored", "shown"), [({"days": 30}, "30"), ({"days": "7"}, "7"), ({}, None)])
def test_an_unchanged_field_keeps_its_stored_value(stored: dict[str, Any], shown: str | None) -> None:
    form = submitted_form(a_job(arg("--days", type=int, default=30)), stored)
    assert form.initial.get("days") == shown
    assert (form.is_valid(), form.options) == (True, stored)


def test_clearing_a_field_omits_its_option() -> None:
    form = submitted_form(a_job(arg("--days", type=int, default=30)), {"days": 7}, days="")
    assert (form.is_valid(), form.options) == (True, {})


def test_django_options_are_omitted_and_verbosity_is_last() -> None:
    form = OptionsForm(a_job(arg("--days"), arg("name")), {})
    assert list(form.fields) == ["days", "name", "verbosity"]


def test_a_hidden_option_has_no_field_and_keeps_its_value() -> None:
    form = submitted_form(a_job(arg("--days"), arg("--inner", help=SUPPRESS)), {"inner": "x"}, days="3")
    assert "inner" not in form.fields
    assert (form.is_valid(), form.options) == (True, {"inner": "x", "days": "3"})


def test_options_that_the_job_no_longer_has_are_listed_and_dropped() -> None:
    form = submitted_form(a_job(arg("--days")), {"dayz": 3, "days": "2"})
    assert form.unknown_options == ["dayz"]
    assert (form.is_valid(), form.options) == (True, {"days": "2"})


def test_a_stored_value_that_its_field_cannot_show_is_reported_and_dropped() -> None:
    form = submitted_form(a_job(arg("--days")), {"days": {"a": 1}})
    assert form.unsuitable_values == {"days": '{"a": 1} is neither text nor a number'}
    assert (form.is_valid(), form.options) == (True, {})


def test_a_stored_value_that_is_no_longer_a_choice_is_shown_and_rejected() -> None:
    form = submitted_form(a_job(CHOICES), {"level": 9})
    assert '<option value="9" selected>' in str(OptionsForm(a_job(CHOICES), {"level": 9})["level"])
    assert f"argument --level: {invalid_choice(9)}" in form.errors["level"][0]


def test_too_many_choices_become_a_text_input() -> None:
    form = submitted_form(a_job(arg("--x", type=int, choices=range(1000))), {}, x="-1")
    assert not form.is_valid()
    assert f"argument --x: {invalid_choice(-1)}" in form.errors["x"][0]


# Errors


def test_every_error_is_shown_next_to_its_field() -> None:
    job = a_job(arg("--days", type=int), CHOICES, arg("name"), arg("--tags", nargs=2))
    form = submitted_form(job, {}, days="x", level="9", tags="a")
    assert {name: str(errors[0]).partition(" (")[0] for name, errors in form.errors.items()} == {
        "days": "argument --days: invalid int value: 'x'",
        "level": f"argument --level: {invalid_choice(9)}",
        "name": "the following arguments are required: name",
        "tags": 'tags: expected a list of 2 values, not ["a"]',
    }


def test_an_error_of_no_field_is_shown_above_the_form() -> None:
    def reject(text: str) -> str:
        raise SystemExit

    form = submitted_form(a_job(arg("--x", type=reject)), {}, x="a")
    assert form.non_field_errors() == ["the command's parser exited the process"]


def exclusive(parser: ArgumentParser, *, required: bool = False) -> None:
    group = parser.add_argument_group("Which", "Choose one.").add_mutually_exclusive_group(required=required)
    group.add_argument("--all", action="store_true")
    group.add_argument("--only")


def test_an_argument_group_is_a_group_and_an_exclusive_group_is_a_row() -> None:
    form = OptionsForm(a_job(arg("--days"), build=exclusive), {})
    titles = [(group.title, group.description) for group in form.groups]
    assert titles == [("", ""), ("Which", "Choose one."), ("", "")]
    (row,) = form.groups[1].rows
    assert (row.legend, [field.name for field in row.fields]) == ("At most one of these", ["all", "only"])


def test_two_options_of_an_exclusive_group_are_rejected_at_the_group() -> None:
    form = submitted_form(a_job(build=exclusive), {}, all=True, only="x")
    assert not form.is_valid()
    (row,) = form.groups[0].rows
    assert row.errors == ["argument --only: not allowed with argument --all"]
    assert row.errors[0] in form.render()


def test_a_missing_option_of_a_required_group_is_reported_at_the_group() -> None:
    form = submitted_form(a_job(build=lambda parser: exclusive(parser, required=True)), {})
    assert not form.is_valid()
    (row,) = form.groups[0].rows
    error = "one of the arguments --all --only is required"
    assert (row.legend, row.errors) == ("Exactly one of these", [error])


# Subcommands


def subcommands(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="cmd")
    fetch = commands.add_parser("fetch", aliases=["get"], help="Get it.")
    fetch.add_argument("name")
    fetch.add_argument("--depth", type=int)
    commands.add_parser("drop").add_argument("name")


def test_only_the_options_of_the_selected_subcommand_are_used() -> None:
    job = a_job(build=subcommands)
    form = submitted_form(
        job, {"cmd": "fetch", "name": "x"}, cmd="drop", **{"drop.name": "y", "fetch.depth": "3"}
    )
    assert (form.is_valid(), form.options) == (True, {"cmd": "drop", "name": "y"})
    assert [group.subcommand for group in form.groups] == ["", "fetch", "drop", ""]


def test_a_stored_alias_is_kept() -> None:
    stored = {"cmd": "get", "name": "x", "depth": 2}
    form = submitted_form(a_job(build=subcommands), stored)
    assert (form.initial["cmd"], form.is_valid(), form.options) == ("fetch", True, stored)


def test_an_error_in_a_subcommand_is_shown_next_to_its_field() -> None:
    form = submitted_form(a_job(build=subcommands), {}, cmd="fetch", **{"fetch.depth": "x"})
    assert not form.is_valid()
    assert list(form.errors) == ["fetch.depth", "fetch.name"]


# Secrets


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> registry.Job:
    job = a_job(arg("--password"), arg("--tokens", nargs="+"), arg("--days", type=int))
    monkeypatch.setattr(registry, "all_jobs", lambda: {job.name: job})
    return job


STORED = {"password": "hunter2", "tokens": ["tok-a", "tok-b"]}


def test_a_secret_is_never_sent_to_the_browser(job: registry.Job) -> None:
    for form in OptionsForm(job, STORED), submitted_form(job, STORED, days="x", password="hunter3"):
        page = form.render()
        assert 'type="password"' in page
        assert not [secret for secret in ("hunter2", "hunter3", "tok-a") if secret in page]


def test_the_default_of_a_secret_is_not_shown() -> None:
    page = OptionsForm(a_job(arg("--password", default="hunter2", help="Or %(default)s.")), {}).render()
    assert "hunter2" not in page


def test_an_unchanged_secret_is_kept(job: registry.Job) -> None:
    form = submitted_form(job, STORED, days="3")
    assert (form.is_valid(), form.options) == (True, {**STORED, "days": 3})


def test_a_new_secret_replaces_the_stored_one(job: registry.Job) -> None:
    form = submitted_form(job, STORED, password=" x ", tokens='a "b c"')
    assert (form.is_valid(), form.options) == (True, {"password": " x ", "tokens": ["a", "b c"]})


def test_a_stored_secret_can_be_removed(job: registry.Job) -> None:
    data = submitted_data(OptionsForm(job, STORED))
    data["option-password-clear"] = "on"
    form = OptionsForm(job, STORED, data)
    assert (form.is_valid(), form.options) == (True, {"tokens": STORED["tokens"]})


def test_a_secret_must_be_entered_again_after_an_error(job: registry.Job) -> None:
    form = submitted_form(job, STORED, password="hunter3", days="x")
    assert list(form.errors) == ["days", "password"]
    assert "Enter it again" in form.errors["password"][0]


def test_an_error_message_does_not_quote_a_secret() -> None:
    job = a_job(arg("--api-key", type=int))
    form = submitted_form(job, {}, api_key="hunter2")
    assert form.errors["api_key"][0] == f"argument --api-key: invalid int value: '{MASK}'"


# The command line


def test_the_equivalent_command_is_shown_with_secrets_masked(job: registry.Job) -> None:
    form = submitted_form(job, STORED, days="3")
    line = "manage.py job --password '********' --tokens '********' '********' --days 3"
    assert (form.command_line, OptionsForm(job, {"days": 3}).command_line) == (line, "manage.py job --days 3")


def test_the_command_includes_a_secret_that_the_form_does_not_have(job: registry.Job) -> None:
    data = QueryDict("option-password-stored=1&option-tokens-stored=1&option-days=3")
    form = OptionsForm(job, {}, data)
    assert form.is_valid()
    assert form.command_line == "manage.py job --password '********' --tokens '********' --days 3"
    assert form.options == {"days": 3}


def test_invalid_options_have_no_equivalent_command() -> None:
    form = submitted_form(a_job(arg("--tags", nargs=2)), {}, tags="a")
    assert form.command_line == ""


# The page


def test_fields_reference_their_help_texts_and_errors() -> None:
    form = submitted_form(a_job(arg("--days", type=int, help="How many.")), {}, days="x")
    page = form.render()
    assert 'aria-describedby="id_option-days_helptext id_option-days_error"' in page
    assert 'id="id_option-days_helptext">How many.<' in page
    assert 'id="id_option-days_error"' in page


def test_a_job_without_options_says_so() -> None:
    def without_verbosity(parser: ArgumentParser) -> None:
        next(each for each in parser._actions if each.dest == "verbosity").help = SUPPRESS

    assert "This job has no options." in OptionsForm(a_job(build=without_verbosity), {}).render()


def test_a_help_text_is_escaped() -> None:
    assert "&lt;b&gt;" in OptionsForm(a_job(arg("--x", help="<b>")), {}).render()
