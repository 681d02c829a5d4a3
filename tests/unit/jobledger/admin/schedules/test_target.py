"""What a schedule starts, as a form or as JSON: judged alike, and no secret is shown."""

import json
from typing import Any

import pytest
from django_celery_beat.models import PeriodicTask

from jobledger.admin.schedules.target import OTHER, StoredWork, Work, stored_work
from jobledger.jobs.secrets import MASK

KEEPER = StoredWork(task="probes.choosing", args=[], options={"api_key": "s3cret", "days": 9})


def posted(work: Work, **values: Any) -> dict[str, Any]:
    """What a browser posts of the work that it is shown, after these changes."""
    forms = [work.choice, *([work.options_form] if work.options_form else [])]
    shown = {form[name].html_name: form[name].value() for form in forms for name in form.fields}
    return {name: value for name, value in {**shown, **values}.items() if value is not None}


def as_json(stored: StoredWork) -> Work:
    """The stored work after somebody asked for JSON."""
    return Work(posted(Work(stored=stored), **{"work-manner": "json"}), stored=stored)


def errors(work: Work, field: str) -> str:
    return " ".join(map(str, work.choice.errors[field]))


def in_json(stored: StoredWork, text: str) -> Work:
    return Work(posted(as_json(stored), **{"work-kwargs": text}), stored=stored)


def test_a_secret_is_shown_in_no_manner() -> None:
    assert json.loads(as_json(KEEPER).choice["kwargs"].value()) == {"api_key": MASK, "days": 9}
    as_form = Work(stored=KEEPER)
    assert as_form.options_form is not None
    assert "s3cret" not in str(as_form.options_form) + str(as_form.choice)


def test_a_secret_whose_mask_comes_back_is_kept() -> None:
    work = in_json(KEEPER, json.dumps({"api_key": MASK, "days": 10}))
    assert work.is_valid(), work.choice.errors
    assert work.options == {"api_key": "s3cret", "days": 10}


def test_a_form_that_is_left_alone_keeps_what_is_stored() -> None:
    work = Work(posted(Work(stored=KEEPER)), stored=KEEPER)
    assert work.is_valid()
    assert (work.task, work.options) == ("probes.choosing", KEEPER.options)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"days": "many"}', "argument --days: invalid int value: 'many'"),
        ('{"dyas": 1}', "dyas"),
        ("[1]", "a JSON object"),
        ("{", "Expecting property name"),
        ('{"days": "********"}', "there is none in this place"),
    ],
)
def test_json_is_judged_as_the_form_is(text: str, said: str) -> None:
    work = in_json(KEEPER, text)
    assert not work.is_valid()
    assert said in errors(work, "kwargs")


def test_a_refusal_does_not_quote_a_secret() -> None:
    work = in_json(KEEPER, '{"api_key": ["hunter2"]}')
    assert not work.is_valid()
    assert "api_key: expected" in errors(work, "kwargs")
    assert "hunter2" not in errors(work, "kwargs")


def test_what_is_typed_is_carried_from_the_form_to_json_and_back() -> None:
    to_json = Work(posted(Work(stored=KEEPER), **{"option-days": "11", "work-manner": "json"}), stored=KEEPER)
    assert json.loads(to_json.choice["kwargs"].value()) == {"api_key": MASK, "days": 11}
    to_form = Work(posted(to_json, **{"work-manner": "form"}), stored=KEEPER)
    assert to_form.options_form is not None
    assert to_form.options_form["days"].value() == "11"
    saved = Work(posted(to_form), stored=KEEPER)
    assert saved.is_valid()
    assert saved.options == {"api_key": "s3cret", "days": 11}


def test_json_that_cannot_be_read_leaves_the_form_as_stored() -> None:
    shown = as_json(KEEPER)
    back = Work(posted(shown, **{"work-kwargs": "{", "work-manner": "form"}), stored=KEEPER)
    assert back.options_form is not None
    assert back.options_form["days"].value() == "9"


def test_the_options_of_one_job_are_not_those_of_another() -> None:
    other = Work(posted(Work(stored=KEEPER), **{"work-job": "probe"}), stored=KEEPER)
    assert (other.is_settled, other.is_valid()) == (False, False)
    assert other.options_form is not None
    assert other.options_form.job.name == "probe"


def test_secrets_of_an_ordinary_task_are_masked_wherever_they_are() -> None:
    stored = StoredWork(
        task="tests.probes.tasks.add", args=[{"token": "t"}], options={"login": {"password": "p"}}
    )
    shown = Work(stored=stored)
    assert shown.choice["job"].value() == OTHER
    assert json.loads(shown.choice["args"].value()) == [{"token": MASK}]
    assert json.loads(shown.choice["kwargs"].value()) == {"login": {"password": MASK}}
    saved = Work(posted(shown), stored=stored)
    assert saved.is_valid()
    assert (saved.args, saved.options) == (stored.args, stored.options)


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"work-task": ""}, "task", "required"),
        ({"work-task": "tasks_app.gone"}, "task", "no job or task"),
        ({"work-args": "{}"}, "args", "a JSON list"),
    ],
)
def test_an_ordinary_task_needs_its_name_and_json(values: dict[str, str], field: str, said: str) -> None:
    stored = StoredWork(task="tests.probes.tasks.add", args=[1], options={})
    work = Work(posted(Work(stored=stored), **values), stored=stored)
    assert not work.is_valid()
    assert said in errors(work, field)


def test_ordinary_tasks_are_offered_by_name_and_jobs_are_not_among_them() -> None:
    tasks = Work().tasks
    assert "tests.probes.tasks.add" in tasks
    assert not [name for name in tasks if name.startswith("celery.") or name == "probes.probe"]


def test_what_is_no_json_object_is_shown_as_it_stands() -> None:
    stored = stored_work(PeriodicTask(task="tests.probes.tasks.add", kwargs="{", args="{"))
    assert Work(stored=stored).choice["kwargs"].value() == "{"


def test_a_typed_secret_is_known_to_be_lost_when_the_page_comes_back() -> None:
    typed = Work(posted(Work(stored=KEEPER), **{"option-api_key": "new"}), stored=KEEPER)
    assert (typed.has_typed_secret, Work(posted(Work(stored=KEEPER)), stored=KEEPER).has_typed_secret) == (
        True,
        False,
    )


@pytest.mark.parametrize(
    ("text", "said"), [("[" * 3000, "levels deep"), (r'{"\ud800": 1}', "half of a character")]
)
def test_json_that_cannot_be_stored_is_refused_beside_the_field(text: str, said: str) -> None:
    work = in_json(KEEPER, text)
    assert not work.is_valid()
    assert said in errors(work, "kwargs")


def test_json_that_cannot_be_stored_is_not_carried_over_into_the_form() -> None:
    shown = as_json(KEEPER)
    work = Work(posted(shown, **{"work-manner": "form", "work-kwargs": "[" * 3000}), stored=KEEPER)
    assert work.options_form is not None


def test_stored_options_that_cannot_be_read_are_shown_before_a_save_drops_them() -> None:
    broken = StoredWork(task="probes.choosing", args=[], unreadable="{broken")
    assert Work(stored=broken).unreadable == "{broken"
    assert Work(stored=KEEPER).unreadable == ""


def test_a_job_is_not_taken_for_an_ordinary_task() -> None:
    values = {"work-job": OTHER, "work-shown_job": OTHER, "work-task": "probes.choosing", "work-kwargs": "{}"}
    work = Work(values)
    assert not work.is_valid()
    assert "This is the job choosing" in errors(work, "task")


ORDINARY = {"work-job": OTHER, "work-shown_job": OTHER, "work-args": "[]", "work-kwargs": "{}"}


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("billing.send", "No app of this project has the task billing.send"),
        ("billing.send", "Tick the box below"),
        ("prob.choosing", "Is it probes.choosing?"),
        ("test.probes.tasks.ad", "Is it tests.probes.tasks.add?"),
        ("tests.probes.tasks.ad", "there is no job or task 'tests.probes.tasks.ad' any more. Is it tests."),
    ],
)
def test_a_task_that_no_worker_of_the_project_knows_is_refused(task: str, said: str) -> None:
    work = Work({**ORDINARY, "work-task": task})
    assert not work.is_valid()
    assert said in errors(work, "task")


def test_a_task_of_another_service_is_taken_from_who_says_so() -> None:
    work = Work({**ORDINARY, "work-task": "billing.send", "work-is_foreign": "on"})
    assert work.is_valid(), work.choice.errors
    assert work.task == "billing.send"


def test_a_stored_task_of_another_service_stays_without_a_word() -> None:
    stored = StoredWork(task="billing.send", args=[], options={})
    work = Work(posted(Work(stored=stored)), stored=stored)
    assert work.is_valid(), work.choice.errors
    assert not Work(stored=StoredWork(task="tests.probes.tasks.add")).choice["is_foreign"].value()


def test_a_job_that_is_gone_is_no_task_of_another_service() -> None:
    work = Work({**ORDINARY, "work-task": "probes.gone", "work-is_foreign": "on"})
    assert not work.is_valid()
    assert "no job or task" in errors(work, "task")
