"""Chains in the admin: edited, refused if they are cycles, exported and imported, and shown on all pages."""

import html
import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from jobledger.admin.schedules.editing.edit_form import ConflictError, EditForm
from jobledger.admin.schedules.versions.importing import import_schedules
from jobledger.checks.schedules import check_schedules
from jobledger.models import AuditEntry, ChainStart, Predecessor, Run, SchedulePolicy, Status, Trigger
from jobledger.schedules import stored_schedules
from jobledger.schedules.chains import links
from jobledger.schedules.documents import all_documents
from jobledger.schedules.documents.files import JSON, YAML, InvalidFileError, file_text, read
from jobledger.schedules.stored_times import ChainTimes, CronTimes
from tests.unit.jobledger.admin.schedules.edit_forms import add, change_url, edit_form, page_url
from tests.unit.jobledger.admin.schedules.schedules import act
from tests.unit.jobledger.admin.schedules.versions.versions import bring_back, deleted, edited, version_url
from tests.unit.jobledger.schedules.builders import NOON, hourly
from tests.unit.jobledger.schedules.chains.builders import ended, follower

pytestmark = pytest.mark.django_db


def names(schedule: PeriodicTask) -> list[str]:
    return [link.current_name for link in links.predecessors_of(schedule)]


def times(name: str) -> Any:
    return stored_schedules.of(PeriodicTask.objects.get(name=name))


def save(client: Client, url: str, **changes: Any) -> str:
    response = client.post(url, edit_form(client, url).after(**changes), follow=True)
    return html.unescape(response.content.decode())


def page(client: Client, schedule: PeriodicTask) -> str:
    return html.unescape(client.get(change_url(schedule)).content.decode())


def after(*names: str, **values: Any) -> dict[str, Any]:
    return {"times__kind": "after", "times__after": "\n".join(names), **values}


# The form


def test_a_schedule_with_times_is_made_to_start_after_others(admin_client: Client) -> None:
    hourly("first")
    hourly("second")
    then = hourly("then")
    save(admin_client, change_url(then), **after("second", " first ", "", times__after_failure="on"))
    assert times("then") == ChainTimes(after=("first", "second"), after_failure=True)
    changes: Any = AuditEntry.objects.get().changes
    assert any("after first and second have ended" in each for each in changes)


def test_whoever_deletes_a_schedule_is_told_what_starts_after_it(admin_client: Client) -> None:
    first, second = hourly("first"), hourly("second")
    then = follower("first", since=NOON, name="then")
    text = "then starts after first: it will start nothing until there is a schedule of this name again"
    assert text in admin_client.get(page_url("delete", first)).text
    assert text in act(admin_client, "delete_schedules", first, second).text
    for schedules in (second,), (first, then):
        assert "starts after" not in act(admin_client, "delete_schedules", *schedules).text
    assert "starts after" not in admin_client.get(page_url("delete", then)).text


def test_its_page_says_which_of_the_others_keeps_it_from_starting(admin_client: Client) -> None:
    first = hourly("first")
    then = follower("first", since=NOON, name="then")
    assert "It does not start" not in admin_client.get(change_url(then)).text
    ended(first, NOON, Status.FAILED)
    PeriodicTask.objects.filter(pk=first.pk).update(enabled=False)
    page = admin_client.get(change_url(then)).text
    assert "It does not start: first is disabled." in page
    assert "It did not start last time: the run of first" in page
    PeriodicTask.objects.filter(pk=then.pk).update(enabled=False)
    assert "It does not start" not in admin_client.get(change_url(then)).text


def test_it_has_no_past_slots_to_backfill(admin_client: Client) -> None:
    first = hourly("first")
    then = follower("first", since=NOON, name="then")
    assert "Backfill…" in admin_client.get(change_url(first)).text
    assert "Backfill…" not in admin_client.get(change_url(then)).text
    answer = admin_client.get(reverse("admin:jobledger_backfill_start", args=[then.pk]), follow=True)
    assert answer.redirect_chain[-1][0] == change_url(then)
    assert "starts after other schedules, and has no times of its own." in answer.text


def test_it_is_given_times_again(admin_client: Client) -> None:
    hourly("first")
    then = follower("first", since=NOON, name="then")
    save(admin_client, change_url(then), times__kind="cron", times__cron="0 5 * * *", times__zone="UTC")
    assert isinstance(times("then"), CronTimes)
    assert not PeriodicTask.objects.get(name="then").one_off
    assert not Predecessor.objects.exists()


def test_saving_it_unchanged_changes_nothing(admin_client: Client) -> None:
    hourly("first")
    then = follower("first", since=NOON, name="then")
    save(admin_client, change_url(then))
    assert (times("then"), AuditEntry.objects.count()) == (ChainTimes(after=("first",)), 0)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([], "This field is required."),
        (["frst"], "There is no schedule “frst”. Did you mean first?"),
        (["then"], "It would start after itself: 'then' after 'then'."),
        (["last"], "It would start after itself: 'then' after 'last' after 'then'."),
    ],
)
def test_what_it_cannot_start_after_is_refused(admin_client: Client, given: list[str], error: str) -> None:
    hourly("first")
    then = hourly("then")
    follower("then", since=NOON, name="last")
    assert error in save(admin_client, change_url(then), **after(*given))
    assert isinstance(times("then"), CronTimes)


def test_a_new_name_hides_no_cycle(admin_client: Client) -> None:
    then = hourly("then")
    follower("then", since=NOON, name="last")
    shown = save(admin_client, change_url(then), name="renamed", **after("last"))
    assert "It would start after itself: 'renamed' after 'last' after 'renamed'." in shown


def test_of_two_edits_that_make_a_cycle_together_the_second_is_refused(admin_client: Client) -> None:
    one, other = hourly("one"), hourly("other")
    data = edit_form(admin_client, change_url(one)).after(**after("other"))
    posted = {name: value[0] if isinstance(value, list) else value for name, value in data.items()}
    opened = EditForm(posted, stored=one, now=NOON)
    assert opened.is_valid
    save(admin_client, change_url(other), **after("one"))
    with pytest.raises(ConflictError):
        opened.save("ann")
    assert isinstance(times("one"), CronTimes)


# Files and versions


def file_of(**schedules: Any) -> Any:
    document = {"jobledger_schedules": 1, "schedules": schedules}
    return read(json.dumps(document), JSON)


@pytest.mark.parametrize("kind", [JSON, YAML])
def test_what_is_exported_comes_back_in_any_order(kind: str) -> None:
    hourly("z first")
    follower("z first", since=NOON, name="a then", after_failure=True)
    documents: Any = dict(all_documents(PeriodicTask.objects.all()))
    assert documents["a then"] == {"job": "probe", "after": ["z first"], "after_failure": True}
    text = file_text(documents, kind)
    PeriodicTask.objects.all().delete()
    import_schedules(read(text, kind), user="ann")
    assert times("a then") == ChainTimes(after=("z first",), after_failure=True)
    assert Predecessor.objects.get().schedule == PeriodicTask.objects.get(name="z first")
    assert {each.action for each in import_schedules(read(text, kind), user="ann")} == {"none"}


def starts_after(name: str) -> dict[str, Any]:
    return {"job": "probe", "after": [name]}


CRON = {"job": "probe", "cron": "0 3 * * *", "timezone": "UTC"}


def test_a_file_can_turn_a_chain_around() -> None:
    hourly("a")
    follower("a", since=NOON, name="b")
    import_schedules(file_of(a=starts_after("b"), b=CRON), user="ann")
    assert (times("a"), names(PeriodicTask.objects.get(name="b"))) == (ChainTimes(after=("b",)), [])


@pytest.mark.parametrize(
    ("schedules", "text"),
    [
        ({"a": starts_after("b"), "b": starts_after("a")}, "'a' after 'b' after 'a'"),
        ({"a": starts_after("stored")}, "'a' after 'stored' after 'a'"),
        ({"a": starts_after("nobody")}, "There is no schedule “nobody”."),
        ({"a": {**CRON, "after": ["stored"]}}, "exactly one of cron, every, at, solar, after is required"),
    ],
)
def test_a_file_that_is_not_valid_changes_nothing(schedules: dict[str, Any], text: str) -> None:
    hourly("a")
    follower("a", since=NOON, name="stored")
    with pytest.raises(InvalidFileError) as caught:
        import_schedules(file_of(**schedules), user="ann")
    assert any(text in str(problem) for problem in caught.value.problems)
    assert isinstance(times("a"), CronTimes)


def broken_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if "is broken" in each.getMessage()]


def test_an_import_logs_no_schedule_as_broken_that_is_fine_in_the_end(
    caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: Any
) -> None:
    file = file_of(a=starts_after("b"), b=CRON)
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        import_schedules(file, user="ann", dry_run=True)
    assert not callbacks
    with django_capture_on_commit_callbacks(execute=True):
        import_schedules(file, user="ann")
    assert broken_lines(caplog) == []
    with django_capture_on_commit_callbacks(execute=True):
        PeriodicTask.objects.get(name="b").delete()
    assert broken_lines(caplog) == ["Schedule a is broken: after: there is no schedule 'b'"]


def test_an_earlier_version_is_brought_back_although_its_predecessor_was_renamed(
    admin_client: Client,
) -> None:
    first = hourly("first")
    then = follower("first", since=NOON, name="then")
    hourly("second")
    entry = edited(admin_client, then, **after("second"))
    for name in "renamed", "last":
        edited(admin_client, first, name=name)
        first.refresh_from_db()
    bring_back(admin_client, entry, "before")
    assert times("then") == ChainTimes(after=("last",))
    hourly("first")
    deleted(admin_client, first)
    entry = edited(admin_client, then, **after("second"))
    assert "There is no schedule “last”" in admin_client.get(version_url(entry, "before")).text


def test_an_earlier_version_is_brought_back_with_its_predecessors(admin_client: Client) -> None:
    hourly("first")
    hourly("second")
    then = follower("first", since=NOON, name="then")
    save(admin_client, change_url(then), **after("second"))
    before: Any = AuditEntry.objects.get().before
    assert before["after"] == ["first"]


# Shown


def test_both_pages_of_a_chain_name_the_other(admin_client: Client) -> None:
    first = hourly("first")
    then = follower("first", since=NOON, name="then")
    assert "Then starts" in page(admin_client, first)
    shown = page(admin_client, then)
    assert "Starts after" in shown
    assert "The next run starts after first has succeeded." in shown
    assert "There is no next run." not in shown


def test_the_jobs_page_says_what_starts_then(admin_client: Client) -> None:
    hourly("first")
    follower("first", since=NOON, name="follows it")
    shown = admin_client.get(reverse("admin:jobledger_job", args=["probe"])).content.decode()
    assert "then starts follows it" in shown
    assert "after first has succeeded" in shown


def test_the_lists_of_schedules_and_of_the_week_say_so(admin_client: Client) -> None:
    hourly("first")
    follower("first", since=NOON, name="then")
    follower("first", since=NOON, name="anyway", after_failure=True)
    listed = admin_client.get(reverse("admin:django_celery_beat_periodictask_changelist")).content.decode()
    assert "after others" in listed
    assert "finished" not in listed
    week = admin_client.get(reverse("admin:jobledger_week")).content.decode()
    assert "<span>after first has succeeded</span>" in week
    assert "<span>after first has ended</span>" in week


def test_a_runs_page_names_the_runs_before_and_after_it(admin_client: Client) -> None:
    first = hourly("first")
    then = follower("first", since=NOON, name="then")
    before, next_one = ended(first, NOON), ended(then, NOON, trigger=Trigger.CHAIN)
    ChainStart.objects.create(schedule=then, scheduled_for=NOON, predecessor=before)
    pages = [
        html.unescape(admin_client.get(reverse("admin:jobledger_run_change", args=[run.pk])).content.decode())
        for run in (before, next_one)
    ]
    assert "Then started" in pages[0]
    assert str(next_one.pk) in pages[0]
    assert "Started after" in pages[1]
    assert str(before.pk) in pages[1]
    assert "chain then" in pages[1]


def test_a_run_that_is_deleted_takes_its_links_along() -> None:
    first = hourly("first")
    then = follower("first", since=NOON, name="then")
    before = ended(first, NOON)
    ChainStart.objects.create(schedule=then, scheduled_for=NOON, predecessor=before)
    Run.objects.filter(status=Status.SUCCEEDED).delete()
    assert not ChainStart.objects.exists()


def test_a_stored_cycle_is_reported() -> None:
    first = hourly("first")
    follower("first", since=NOON, name="then")
    links.assign(first.pk, ["then"], NOON)
    SchedulePolicy.objects.filter(schedule=first).update(after="success")
    found = {message.id: message.msg for message in check_schedules(databases=["default"])}
    assert "'first' after 'then' after 'first'" in found["jobledger.W029"]


def test_the_form_for_a_new_schedule_offers_it(admin_client: Client) -> None:
    hourly("first")
    add(admin_client, name="new", **after("first"))
    assert times("new") == ChainTimes(after=("first",))
