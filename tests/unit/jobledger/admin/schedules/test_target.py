"""What a schedule starts, as a form or as JSON: judged alike, and no secret is shown."""

import json
from typing import Any

import pytest
from django_celery_beat.models import PeriodicTask

from jobledger.admin.schedules.target import OTHER, StoredTarget, TargetForm, stored_target
from jobledger.jobs.secrets import MASK

KEEPER = StoredTarget(task="probes.choosing", args=[], options={"api_key": "s3cret", "days": 9})


def posted(target: TargetForm, **values: Any) -> dict[str, Any]:
    """What a browser posts of the work that it is shown, after these changes."""
    forms = [target.choice, *([target.options_form] if target.options_form else [])]
    shown = {form[name].html_name: form[name].value() for form in forms for name in form.fields}
    return {name: value for name, value in {**shown, **values}.items() if value is not None}


def as_json(stored: StoredTarget) -> TargetForm:
    """The stored work after somebody asked for JSON."""
    return TargetForm(posted(TargetForm(stored=stored), **{"target-input_mode": "json"}), stored=stored)


def errors(target: TargetForm, field: str) -> str:
    return " ".join(map(str, target.choice.errors[field]))


def in_json(stored: StoredTarget, text: str) -> TargetForm:
    return TargetForm(posted(as_json(stored), **{"target-kwargs": text}), stored=stored)


def test_a_secret_is_shown_in_no_manner() -> None:
    assert json.loads(as_json(KEEPER).choice["kwargs"].value()) == {"api_key": MASK, "days": 9}
    as_form = TargetForm(stored=KEEPER)
    assert as_form.options_form is not None
    assert "s3cret" not in str(as_form.options_form) + str(as_form.choice)


def test_a_secret_whose_mask_comes_back_is_kept() -> None:
    target = in_json(KEEPER, json.dumps({"api_key": MASK, "days": 10}))
    assert target.is_valid(), target.choice.errors
    assert target.options == {"api_key": "s3cret", "days": 10}


def test_a_form_that_is_left_alone_keeps_what_is_stored() -> None:
    target = TargetForm(posted(TargetForm(stored=KEEPER)), stored=KEEPER)
    assert target.is_valid()
    assert (target.task, target.options) == ("probes.choosing", KEEPER.options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"days": "many"}', "argument --days: invalid int value: 'many'"),
        ('{"dyas": 1}', "dyas"),
        ("[1]", "a JSON object"),
        ("{", "Expecting property name"),
        ('{"days": "********"}', "there is none here"),
    ],
)
def test_json_is_judged_as_the_form_is(text: str, said: str) -> None:
    target = in_json(KEEPER, text)
    assert not target.is_valid()
    assert said in errors(target, "kwargs")


def test_a_refusal_does_not_quote_a_secret() -> None:
    target = in_json(KEEPER, '{"api_key": ["hunter2"]}')
    assert not target.is_valid()
    assert "api_key: expected" in errors(target, "kwargs")
    assert "hunter2" not in errors(target, "kwargs")


def test_what_is_typed_is_carried_from_the_form_to_json_and_back() -> None:
    to_json = TargetForm(
        posted(TargetForm(stored=KEEPER), **{"option-days": "11", "target-input_mode": "json"}), stored=KEEPER
    )
    assert json.loads(to_json.choice["kwargs"].value()) == {"api_key": MASK, "days": 11}
    to_form = TargetForm(posted(to_json, **{"target-input_mode": "form"}), stored=KEEPER)
    assert to_form.options_form is not None
    assert to_form.options_form["days"].value() == "11"
    saved = TargetForm(posted(to_form), stored=KEEPER)
    assert saved.is_valid()
    assert saved.options == {"api_key": "s3cret", "days": 11}


def test_json_that_cannot_be_read_leaves_the_form_as_stored() -> None:
    shown = as_json(KEEPER)
    back = TargetForm(posted(shown, **{"target-kwargs": "{", "target-input_mode": "form"}), stored=KEEPER)
    assert back.options_form is not None
    assert back.options_form["days"].value() == "9"


def test_the_options_of_one_job_are_not_those_of_another() -> None:
    other = TargetForm(posted(TargetForm(stored=KEEPER), **{"target-job": "probe"}), stored=KEEPER)
    assert (other.is_settled, other.is_valid()) == (False, False)
    assert other.options_form is not None
    assert other.options_form.job.name == "probe"


def test_secrets_of_an_ordinary_task_are_masked_wherever_they_are() -> None:
    stored = StoredTarget(
        task="tests.probes.tasks.add", args=[{"token": "t"}], options={"login": {"password": "p"}}
    )
    shown = TargetForm(stored=stored)
    assert shown.choice["job"].value() == OTHER
    assert json.loads(shown.choice["args"].value()) == [{"token": MASK}]
    assert json.loads(shown.choice["kwargs"].value()) == {"login": {"password": MASK}}
    saved = TargetForm(posted(shown), stored=stored)
    assert saved.is_valid()
    assert (saved.args, saved.options) == (stored.args, stored.options)


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"target-task": ""}, "task", "required"),
        ({"target-task": "tasks_app.gone"}, "task", "no longer a job or task"),
        ({"target-args": "{}"}, "args", "a JSON array"),
    ],
)
def test_an_ordinary_task_needs_its_name_and_json(values: dict[str, str], field: str, said: str) -> None:
    stored = StoredTarget(task="tests.probes.tasks.add", args=[1], options={})
    target = TargetForm(posted(TargetForm(stored=stored), **values), stored=stored)
    assert not target.is_valid()
    assert said in errors(target, field)


def test_ordinary_tasks_are_offered_by_name_and_jobs_are_not_among_them() -> None:
    tasks = TargetForm().tasks
    assert "tests.probes.tasks.add" in tasks
    assert not [name for name in tasks if name.startswith("celery.") or name == "probes.probe"]


def test_what_is_no_json_object_is_shown_as_it_stands() -> None:
    stored = stored_target(PeriodicTask(task="tests.probes.tasks.add", kwargs="{", args="{"))
    assert TargetForm(stored=stored).choice["kwargs"].value() == "{"


def test_a_typed_secret_is_known_to_be_lost_when_the_page_comes_back() -> None:
    typed = TargetForm(posted(TargetForm(stored=KEEPER), **{"option-api_key": "new"}), stored=KEEPER)
    assert (
        typed.has_typed_secret,
        TargetForm(posted(TargetForm(stored=KEEPER)), stored=KEEPER).has_typed_secret,
    ) == (
        True,
        False,
    )


@pytest.mark.parametrize(
    ("text", "said"), [("[" * 3000, "levels deep"), (r'{"\ud800": 1}', "half a character")]
)
def test_json_that_cannot_be_stored_is_refused_beside_the_field(text: str, said: str) -> None:
    target = in_json(KEEPER, text)
    assert not target.is_valid()
    assert said in errors(target, "kwargs")


def test_json_that_cannot_be_stored_is_not_carried_over_into_the_form() -> None:
    shown = as_json(KEEPER)
    target = TargetForm(
        posted(shown, **{"target-input_mode": "form", "target-kwargs": "[" * 3000}), stored=KEEPER
    )
    assert target.options_form is not None


def test_stored_options_that_cannot_be_read_are_shown_before_a_save_drops_them() -> None:
    broken = StoredTarget(task="probes.choosing", args=[], unreadable="{broken")
    assert TargetForm(stored=broken).unreadable == "{broken"
    assert TargetForm(stored=KEEPER).unreadable == ""


def test_a_job_is_not_taken_for_an_ordinary_task() -> None:
    values = {
        "target-job": OTHER,
        "target-shown_job": OTHER,
        "target-task": "probes.choosing",
        "target-kwargs": "{}",
    }
    target = TargetForm({**values, "target-kwargs": "{}"})
    assert not target.is_valid()
    assert "This is the task of the job choosing" in errors(target, "task")


ORDINARY = {"target-job": OTHER, "target-shown_job": OTHER, "target-args": "[]", "target-kwargs": "{}"}


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("billing.send", "SCHEDULABLE_TASKS does not name it"),
        ("prob.choosing", "Did you mean probes.choosing?"),
        ("test.probes.tasks.ad", "Did you mean tests.probes.tasks.add?"),
        (
            "tests.probes.tasks.ad",
            "there is no longer a job or task named 'tests.probes.tasks.ad'. Did you mean tests.",
        ),
        ("celery.chord_unlock", "one of Celery's own tasks, which cannot be scheduled"),
    ],
)
def test_a_task_that_may_not_be_scheduled_is_refused(task: str, said: str) -> None:
    target = TargetForm({**ORDINARY, "target-task": task})
    assert not target.is_valid()
    assert said in errors(target, "task")


def test_a_task_of_another_service_is_taken_where_the_settings_name_it(settings: Any) -> None:
    settings.SCHEDULABLE_TASKS = ["billing.*"]
    target = TargetForm({**ORDINARY, "target-task": "billing.send"})
    assert target.is_valid(), target.choice.errors
    assert target.task == "billing.send"


def test_tasks_that_may_not_be_scheduled_are_not_offered() -> None:
    assert TargetForm().tasks == ["tests.probes.tasks.add"]


@pytest.mark.parametrize("field", ["args", "kwargs"])
def test_arguments_of_an_ordinary_task_that_are_too_large_are_refused(field: str) -> None:
    large = {"args": f'["{"x" * 70_000}"]', "kwargs": f'{{"a": "{"x" * 70_000}"}}'}[field]
    target = TargetForm({**ORDINARY, "target-task": "tests.probes.tasks.add", f"target-{field}": large})
    assert not target.is_valid()
    assert "more than the 65,536 allowed" in errors(target, "kwargs")


def test_a_job_that_is_gone_is_no_task_of_another_service() -> None:
    target = TargetForm({**ORDINARY, "target-task": "probes.gone"})
    assert not target.is_valid()
    assert "no longer a job or task" in errors(target, "task")
