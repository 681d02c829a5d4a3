"""The target form: form and JSON are validated in the same way, and no secrets are shown."""

import json
from typing import Any

import pytest
from django_celery_beat.models import PeriodicTask

from jobledger.admin.schedules.editing.target import OTHER, StoredTarget, TargetForm, stored_target
from jobledger.jobs.secrets import MASK
from tests.unit.builders import override

KEEPER = StoredTarget(task="probes.choosing", args=[], options={"api_key": "s3cret", "days": 9})


def submitted_data(target: TargetForm, **values: Any) -> dict[str, Any]:
    """The data that a browser submits for the target after these changes."""
    forms = [target.choice, *([target.options_form] if target.options_form else [])]
    shown = {form[name].html_name: form[name].value() for form in forms for name in form.fields}
    return {name: value for name, value in {**shown, **values}.items() if value is not None}


def as_json(stored: StoredTarget) -> TargetForm:
    """The stored target after switching to JSON."""
    return TargetForm(
        submitted_data(TargetForm(stored=stored), **{"target-input_mode": "json"}), stored=stored
    )


def errors(target: TargetForm, field: str) -> str:
    return " ".join(map(str, target.choice.errors[field]))


def in_json(stored: StoredTarget, text: str) -> TargetForm:
    return TargetForm(submitted_data(as_json(stored), **{"target-kwargs": text}), stored=stored)


def test_no_input_mode_shows_secrets() -> None:
    assert json.loads(as_json(KEEPER).choice["kwargs"].value()) == {"api_key": MASK, "days": 9}
    as_form = TargetForm(stored=KEEPER)
    assert as_form.options_form is not None
    assert "s3cret" not in str(as_form.options_form) + str(as_form.choice)


def test_a_secret_is_kept_if_its_mask_is_submitted() -> None:
    target = in_json(KEEPER, json.dumps({"api_key": MASK, "days": 10}))
    assert target.is_valid(), target.choice.errors
    assert target.options == {"api_key": "s3cret", "days": 10}


def test_an_unchanged_form_keeps_the_stored_target() -> None:
    target = TargetForm(submitted_data(TargetForm(stored=KEEPER)), stored=KEEPER)
    assert target.is_valid()
    assert (target.task, target.options) == ("probes.choosing", KEEPER.options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"days": "many"}', "argument --days: invalid int value: 'many'"),
        ('{"dyas": 1}', "dyas"),
        ("[1]", "a JSON object"),
        ("{", "Expecting property name"),
        ('{"days": "********"}', "there is none here"),
    ],
)
def test_json_is_validated_like_the_form(text: str, expected: str) -> None:
    target = in_json(KEEPER, text)
    assert not target.is_valid()
    assert expected in errors(target, "kwargs")


def test_an_error_message_does_not_quote_a_secret() -> None:
    target = in_json(KEEPER, '{"api_key": ["hunter2"]}')
    assert not target.is_valid()
    assert "api_key: expected" in errors(target, "kwargs")
    assert "hunter2" not in errors(target, "kwargs")


def test_input_is_carried_over_from_the_form_to_json_and_back() -> None:
    to_json = TargetForm(
        submitted_data(TargetForm(stored=KEEPER), **{"option-days": "11", "target-input_mode": "json"}),
        stored=KEEPER,
    )
    assert json.loads(to_json.choice["kwargs"].value()) == {"api_key": MASK, "days": 11}
    to_form = TargetForm(submitted_data(to_json, **{"target-input_mode": "form"}), stored=KEEPER)
    assert to_form.options_form is not None
    assert to_form.options_form["days"].value() == "11"
    saved = TargetForm(submitted_data(to_form), stored=KEEPER)
    assert saved.is_valid()
    assert saved.options == {"api_key": "s3cret", "days": 11}


def test_invalid_json_is_not_carried_over() -> None:
    shown = as_json(KEEPER)
    back = TargetForm(
        submitted_data(shown, **{"target-kwargs": "{", "target-input_mode": "form"}), stored=KEEPER
    )
    assert back.options_form is not None
    assert back.options_form["days"].value() == "9"


def test_options_are_not_carried_over_to_another_job() -> None:
    other = TargetForm(submitted_data(TargetForm(stored=KEEPER), **{"target-job": "probe"}), stored=KEEPER)
    assert (other.is_settled, other.is_valid()) == (False, False)
    assert other.options_form is not None
    assert other.options_form.job.name == "probe"


def test_secrets_of_an_ordinary_task_are_masked_everywhere() -> None:
    stored = StoredTarget(
        task="tests.probes.tasks.add", args=[{"token": "t"}], options={"login": {"password": "p"}}
    )
    shown = TargetForm(stored=stored)
    assert shown.choice["job"].value() == OTHER
    assert json.loads(shown.choice["args"].value()) == [{"token": MASK}]
    assert json.loads(shown.choice["kwargs"].value()) == {"login": {"password": MASK}}
    saved = TargetForm(submitted_data(shown), stored=stored)
    assert saved.is_valid()
    assert (saved.args, saved.options) == (stored.args, stored.options)


@pytest.mark.parametrize(
    ("values", "field", "expected"),
    [
        ({"target-task": ""}, "task", "required"),
        ({"target-task": "tasks_app.gone"}, "task", "no job or task"),
        ({"target-args": "{}"}, "args", "a JSON array"),
    ],
)
def test_an_ordinary_task_requires_a_name_and_json(values: dict[str, str], field: str, expected: str) -> None:
    stored = StoredTarget(task="tests.probes.tasks.add", args=[1], options={})
    target = TargetForm(submitted_data(TargetForm(stored=stored), **values), stored=stored)
    assert not target.is_valid()
    assert expected in errors(target, field)


def test_only_ordinary_tasks_are_suggested() -> None:
    tasks = TargetForm().tasks
    assert "tests.probes.tasks.add" in tasks
    assert not [name for name in tasks if name.startswith("celery.") or name == "probes.probe"]


def test_stored_text_that_is_not_a_json_object_is_shown_unchanged() -> None:
    stored = stored_target(PeriodicTask(task="tests.probes.tasks.add", kwargs="{", args="{"))
    assert TargetForm(stored=stored).choice["kwargs"].value() == "{"


def test_a_secret_must_be_entered_again_when_the_page_is_shown_again() -> None:
    typed = TargetForm(submitted_data(TargetForm(stored=KEEPER), **{"option-api_key": "new"}), stored=KEEPER)
    assert (
        typed.has_typed_secret,
        TargetForm(submitted_data(TargetForm(stored=KEEPER)), stored=KEEPER).has_typed_secret,
    ) == (
        True,
        False,
    )


@pytest.mark.parametrize(
    ("text", "expected"), [("[" * 3000 + "]" * 3000, "levels deep"), (r'{"\ud800": 1}', "a lone surrogate")]
)
def test_json_that_cannot_be_stored_is_rejected(text: str, expected: str) -> None:
    target = in_json(KEEPER, text)
    assert not target.is_valid()
    assert expected in errors(target, "kwargs")


def test_json_that_cannot_be_stored_is_not_carried_over() -> None:
    shown = as_json(KEEPER)
    target = TargetForm(
        submitted_data(shown, **{"target-input_mode": "form", "target-kwargs": "[" * 3000}), stored=KEEPER
    )
    assert target.options_form is not None


def test_invalid_stored_options_are_shown_before_saving_removes_them() -> None:
    broken = StoredTarget(task="probes.choosing", args=[], unreadable="{broken")
    assert TargetForm(stored=broken).unreadable == "{broken"
    assert TargetForm(stored=KEEPER).unreadable == ""


def test_a_job_is_not_accepted_as_an_ordinary_task() -> None:
    values = {
        "target-job": OTHER,
        "target-shown_job": OTHER,
        "target-task": "probes.choosing",
        "target-kwargs": "{}",
    }
    target = TargetForm({**values, "target-kwargs": "{}"})
    assert not target.is_valid()
    assert "This task belongs to the job choosing." in errors(target, "task")


ORDINARY = {"target-job": OTHER, "target-shown_job": OTHER, "target-args": "[]", "target-kwargs": "{}"}


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("billing.send", "not listed in SCHEDULABLE_TASKS"),
        ("prob.choosing", "Did you mean probes.choosing?"),
        ("test.probes.tasks.ad", "Did you mean tests.probes.tasks.add?"),
        (
            "tests.probes.tasks.ad",
            "there is no job or task named 'tests.probes.tasks.ad'. Did you mean tests.",
        ),
        ("celery.chord_unlock", "one of Celery's own tasks, which cannot be scheduled"),
    ],
)
def test_a_task_that_may_not_be_scheduled_is_rejected(task: str, expected: str) -> None:
    target = TargetForm({**ORDINARY, "target-task": task})
    assert not target.is_valid()
    assert expected in errors(target, "task")


def test_a_task_that_exists_but_may_not_be_scheduled_is_not_suggested_itself() -> None:
    target = TargetForm({**ORDINARY, "target-task": "celery.backend_cleanup"})
    assert not target.is_valid()
    assert "Did you mean" not in errors(target, "task")


def test_a_task_of_another_service_is_accepted_if_the_settings_list_it(settings: Any) -> None:
    override(settings, SCHEDULABLE_TASKS=["billing.*"])
    target = TargetForm({**ORDINARY, "target-task": "billing.send"})
    assert target.is_valid(), target.choice.errors
    assert target.task == "billing.send"


def test_tasks_that_may_not_be_scheduled_are_not_suggested() -> None:
    probes = ("add", "be_replaced", "leave_open", "raise_error", "try_again")
    assert TargetForm().tasks == ["add everything!", *(f"tests.probes.tasks.{name}" for name in probes)]


@pytest.mark.parametrize("field", ["args", "kwargs"])
def test_arguments_that_are_too_large_are_rejected(field: str) -> None:
    large = {"args": f'["{"x" * 70_000}"]', "kwargs": f'{{"a": "{"x" * 70_000}"}}'}[field]
    target = TargetForm({**ORDINARY, "target-task": "tests.probes.tasks.add", f"target-{field}": large})
    assert not target.is_valid()
    assert "more than the 65,536 allowed" in errors(target, "kwargs")


def test_a_job_that_no_longer_exists_is_not_a_task_of_another_service() -> None:
    target = TargetForm({**ORDINARY, "target-task": "probes.gone"})
    assert not target.is_valid()
    assert "no job or task" in errors(target, "task")
