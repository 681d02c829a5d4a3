"""A file of schedules is imported as a whole or not at all, and what is exported comes back the same."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobledger.admin.schedules.versions.importing import Action, Outcome, import_schedules
from jobledger.jobs.secrets import MASK
from jobledger.models import (
    AlertDestination,
    AlertRule,
    AuditEntry,
    Calendar,
    DeclaredSchedule,
    NextSlot,
    Run,
    ScheduleCalendar,
    SchedulePolicy,
)
from jobledger.schedules import stored_schedules
from jobledger.schedules.declared.sync import sync
from jobledger.schedules.documents import all_documents, complete_document_of
from jobledger.schedules.documents.files import JSON, YAML, InvalidFileError, file_text, read
from jobledger.schedules.stored_times import (
    ClockedTimes,
    CronTimes,
    IntervalTimes,
    SolarTimes,
)
from tests.unit.jobledger.schedules.builders import NOON, every, hourly, limited_by
from tests.unit.jobledger.schedules.chains.builders import follower

pytestmark = pytest.mark.django_db


def exported(kind: str = YAML) -> str:
    documents: Any = dict(all_documents(PeriodicTask.objects.all()))
    return file_text(documents, kind)


def imported(text: str, kind: str = YAML, **options: Any) -> dict[str, Outcome]:
    found = import_schedules(read(text, kind), user="root", **options)
    return {each.name: each for each in found}


def actions(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    return {name: each.action for name, each in outcomes.items()}


def file_of(**schedules: Any) -> str:
    return json.dumps({"jobledger_schedules": 1, "schedules": schedules})


def probe(**values: Any) -> dict[str, Any]:
    zone = {"timezone": "UTC"} if values.get("cron", True) else {}
    return {"job": "probe", "cron": "0 3 * * *", **zone, **values}


def problems(text: str, **options: Any) -> list[str]:
    with pytest.raises(InvalidFileError) as caught:
        import_schedules(read(text, JSON), user="root", **options)
    return [str(each) for each in caught.value.problems]


# What is exported comes back


def texts(max_size: int = 30) -> st.SearchStrategy[str]:
    return st.text(
        st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Cf", "Zl", "Zp")), max_size=max_size
    )


def names() -> st.SearchStrategy[str]:
    return texts().map(str.strip).filter(bool)


def times() -> st.SearchStrategy[datetime]:
    return st.datetimes(
        datetime(2020, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
        datetime(2040, 1, 1),  # noqa: DTZ001
        timezones=st.sampled_from([UTC, ZoneInfo("Europe/London")]),
    )


def lengths() -> st.SearchStrategy[timedelta]:
    return st.timedeltas(timedelta(microseconds=1), timedelta(days=400))


def optional(found: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | found


numbers = st.integers(1, 2**31 - 1)
options = st.fixed_dictionaries(
    {},
    optional={
        "words": st.lists(texts()),
        "level": st.sampled_from([1, 2, 3]),
        "warn": texts() | st.sampled_from(["yes", "1e3", "0o7", "null", "a\nb", " - x", "2026-11-28", "#"]),
        "show_slot": st.booleans(),
    },
)
timings = (
    st.builds(
        CronTimes,
        expression=st.sampled_from(["*/7 * * * *", "0 3 * * mon-fri", "30 1-5 2,31 * *", "5 4 1 jan,jul 0"]),
        zone=st.sampled_from(["UTC", "Europe/London"]).map(ZoneInfo),
    )
    | st.builds(IntervalTimes, every=st.integers(1, 10**6), period=st.sampled_from(["days", "seconds"]))
    | st.builds(ClockedTimes, at=times())
    | st.builds(
        SolarTimes,
        event=st.sampled_from(["sunrise", "sunset"]),
        latitude=st.decimals(-50, 50, places=6),
        longitude=st.decimals(-180, 180, places=6),
    )
)
schedules = st.fixed_dictionaries(
    {
        "kwargs": options.map(json.dumps),
        "enabled": st.booleans(),
        "description": texts(),
        "one_off": st.booleans(),
        "start_time": optional(times()),
        "queue": st.sampled_from([None, "", "slow"]),
        "priority": optional(st.integers(0, 255)),
        "routing_key": st.sampled_from([None, "key"]),
        "headers": st.dictionaries(st.sampled_from(["tenant", "x"]), texts()).map(json.dumps),
    }
)
policies = st.fixed_dictionaries(
    {
        "misfire": st.sampled_from(["once", "skip", "all"]),
        "catch_up_limit": st.integers(1, 10_000),
        "starting_deadline": optional(lengths()),
        "jitter": st.just(timedelta(0)) | lengths(),
        "concurrency": st.sampled_from(["", "forbid", "queue", "replace", "allow"]),
        "max_live_per_schedule": optional(numbers),
        "max_live": optional(numbers),
        "pause_after_failures": optional(st.integers(0, 100)),
        "failure_pause": optional(lengths()),
        "dialect": st.sampled_from(["cron", "celery"]),
        "anchor": times(),
    }
)
rules = st.fixed_dictionaries(
    {
        "enabled": st.booleans(),
        "kinds": st.lists(st.sampled_from(["failed", "lost", "silent"]), unique=True),
        "after_failures": st.integers(1, 100),
        "every_failure": st.booleans(),
        "frequency": st.sampled_from(["immediately", "daily"]),
        "late_after": optional(lengths()),
        "include_attended": st.booleans(),
    }
)


def store(name: str, timing: Any, schedule: Any, policy: Any, rule: Any) -> None:
    made = PeriodicTask(name=name, task="probes.probe", **schedule)
    stored_schedules.assign(made, timing)
    made.save()
    dialect = policy["dialect"] if isinstance(timing, CronTimes | IntervalTimes) else "cron"
    SchedulePolicy.objects.filter(schedule=made).update(**{**policy, "dialect": dialect})
    if rule is not None:
        made.alert_rules.create(name=f"rule of {name}", **rule).destinations.set(
            AlertDestination.objects.all()
        )


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=20,
    deadline=None,
)
@given(
    st.dictionaries(names(), st.tuples(timings, schedules, policies, optional(rules)), max_size=3),
    st.sampled_from([JSON, YAML]),
)
def test_what_is_exported_and_imported_elsewhere_is_exported_the_same(
    stored: dict[str, Any], kind: str
) -> None:
    PeriodicTask.objects.all().delete()
    AlertDestination.objects.get_or_create(name="ops", kind="mail", addresses="ops@example.com")
    for name, parts in stored.items():
        store(name, *parts)
    first = exported(kind)
    PeriodicTask.objects.all().delete()
    assert set(actions(imported(first, kind)).values()) <= {"add"}
    assert exported(kind) == first
    before = list(PeriodicTask.objects.order_by("pk").values())
    assert set(actions(imported(first, kind)).values()) <= {"none"}
    assert list(PeriodicTask.objects.order_by("pk").values()) == before


def test_calendars_come_back_by_their_names() -> None:
    limited_by(hourly("nightly"), "2026-03-04", only_on="sat")
    first = exported()
    assert "not_on:" in first
    PeriodicTask.objects.all().delete()
    assert actions(imported(first)) == {"nightly": "add"}
    assert exported() == first
    found = set(ScheduleCalendar.objects.values_list("calendar__name", "kind"))
    assert found == {("closed nightly", "not_on"), ("open nightly", "only_on")}
    assert actions(imported(first)) == {"nightly": "none"}


def test_a_calendar_that_does_not_exist_is_a_problem_and_so_is_moving_what_is_due_very_often() -> None:
    for key in ("not_on", "only_on"):
        (problem,) = problems(file_of(nightly=probe(**{key: ["no such"]})))
        assert problem == f"schedules.nightly.{key}: There is no calendar “no such”: add it first."
    Calendar.objects.create(name="weekend", entries="sat, sun")
    (problem,) = problems(file_of(often=probe(cron="* * * * *", not_on=["weekend"], left_out="move")))
    assert "left_out" in problem
    assert "cannot be moved" in problem


# What an import does


def test_new_schedules_are_planned_and_in_the_audit_log() -> None:
    assert actions(imported(file_of(nightly=probe(options={"level": 2}, jitter="5 min")), JSON)) == {
        "nightly": Action.ADD
    }
    stored = PeriodicTask.objects.get()
    assert (stored.task, json.loads(stored.kwargs)) == ("probes.probe", {"level": 2})
    assert stored.policy.jitter == timedelta(minutes=5)
    assert NextSlot.objects.filter(slot__hour=3).exists()
    entry = AuditEntry.objects.get()
    assert (entry.username, entry.user, entry.verb, entry.object_name) == ("root", None, "added", "nightly")


def test_only_what_differs_is_changed_and_said() -> None:
    hourly("same")
    hourly("other", description="old")
    hourly("third")
    documents: Any = dict(all_documents(PeriodicTask.objects.all()))
    documents["other"] = {**documents["other"], "description": "new"}
    del documents["third"]
    found = imported(file_text(documents, YAML))
    assert actions(found) == {"other": "change", "same": "none", "third": "keep"}
    (difference,) = found["other"].differences
    assert (difference.key, difference.old, difference.new) == ("description", '"old"', '"new"')
    assert AuditEntry.objects.get().object_name == "other"


def test_a_dry_run_says_the_same_and_changes_nothing() -> None:
    hourly("gone")
    text = file_of(nightly=probe(), other=probe(every="2 hours", cron=""))
    planned = imported(text, JSON, prune=True, dry_run=True)
    assert [each.name for each in PeriodicTask.objects.all()] == ["gone"]
    assert not AuditEntry.objects.exists()
    done = imported(text, JSON, prune=True)
    assert actions(planned) == actions(done) == {"gone": "delete", "nightly": "add", "other": "add"}


def test_pruned_schedules_can_be_brought_back_from_the_audit_log() -> None:
    schedule = hourly("gone", description="kept")
    imported(file_of(), JSON, prune=True)
    entry = AuditEntry.objects.get(before__description="kept")
    assert (entry.verb, entry.object_id) == ("deleted", str(schedule.pk))


def test_a_pruned_schedules_alert_rule_can_be_that_of_another_one() -> None:
    hourly("old").alert_rules.create(name="urgent", after_failures=3)
    imported(file_of(new=probe(alert_rules={"urgent": {"after_failures": 3}})), JSON, prune=True)
    assert AlertRule.objects.filter(name="urgent", schedule__name="new").exists()


def test_what_does_not_change_need_not_be_valid() -> None:
    hourly("broken", task="gone.job")
    text = exported()
    assert actions(imported(text)) == {"broken": "none"}


@pytest.mark.one_database
@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"job": "prob"}, "job: there is no job 'prob'. Did you mean probe?"),
        ({"job": "", "task": "nobody.knows"}, "task: 'nobody.knows'"),
        ({"task": "a.b"}, "exactly one of job and task is required"),
        ({"options": {"level": 7}}, "options: "),
        ({"options": {"levle": 1}}, "options: "),
        ({"args": [1]}, "args: a job takes no positional arguments"),
        ({"cron": "61 * * * *"}, "cron: "),
        ({"timezone": "Mars/Olympus"}, "timezone: "),
        ({"timezone": ""}, "timezone: a cron expression needs one"),
        ({"cron": ""}, "exactly one of cron, every, at, solar, after is required, not none"),
        ({"every": "2 days"}, "exactly one of cron, every, at, solar, after is required, not cron, every"),
        ({"cron": "", "every": "soon"}, "every: 'soon' is not an interval"),
        ({"cron": "", "every": "0 minutes"}, "every: "),
        ({"cron": "", "at": "2026-12-01T03:00", "timezone": ""}, "at: '2026-12-01T03:00' is not a time with"),
        ({"cron": "", "solar": {"event": "noon", "latitude": 1, "longitude": 2}}, "solar.event: "),
        ({"start_time": "tomorrow"}, "start_time: 'tomorrow' is not a time with an offset"),
        (
            {"cron": "", "solar": {"event": "sunset", "latitude": 1}},
            "solar.longitude: This field is required",
        ),
        (
            {"cron": "", "at": "9999-12-31T23:59:59+00:00", "timezone": ""},
            "at: '9999-12-31T23:59:59+00:00' is",
        ),
        ({"anchor": "9999-12-31T23:59:59+00:00"}, "anchor: '9999-12-31T23:59:59+00:00' is not a time"),
        ({"declared_as": "x" * 201}, "declared_as: expected at most 200 characters"),
        ({"imported_line": "a\x01"}, "imported_line: expected at most 64 characters, and no control"),
        (
            {"after_failure": True},
            "after_failure: it has no effect with cron: leave it out",
        ),
        (
            {"cron": "", "every": "2 days", "timezone": "UTC"},
            "timezone: it has no effect with every: leave it out",
        ),
        ({"anchor": "then"}, "anchor: 'then' is not a time with an offset"),
        ({"dialect": "quartz"}, "dialect: 'quartz' is not one of cron, celery"),
        ({"misfire": "never"}, "misfire: "),
        ({"jitter": "soon"}, "jitter: "),
        ({"catch_up_limit": 0}, "catch_up_limit: "),
        ({"priority": 256}, "priority: "),
        ({"queue": "a b"}, "queue: Choose another name"),
        ({"headers": {"id": "1"}}, "headers: Celery sets id itself"),
        ({"ping_url": "nowhere"}, "ping_url: Enter an address"),
        ({"ping_url": MASK}, "ping_url: no secret is stored"),
        (
            {"alert_rules": {"x": {"destinations": ["ops"]}}},
            "alert_rules.x.destinations: there is no alert dest",
        ),
        ({"alert_rules": {"x": {"kinds": ["sad"]}}}, "alert_rules.x.kinds: "),
        ({"alert_rules": {"general": {}}}, "alert_rules.general: "),
    ],
)
def test_what_is_wrong_is_said_with_its_path_and_nothing_is_imported(
    values: dict[str, Any], problem: str
) -> None:
    AlertRule.objects.create(name="general")
    text = file_of(fine=probe(), nightly=probe(**values))
    (found,) = problems(text)
    assert found.startswith(("schedules.nightly." if ": " in problem else "schedules.nightly: ") + problem)
    assert not PeriodicTask.objects.exists()


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"schedules": {"a\0": {"job": "probe", "cron": "@daily", "timezone": "UTC"}}}, "schedules"),
        ({"calendars": {"a\0": {"entries": ["sat"]}}}, "calendars"),
        (
            {
                "schedules": {
                    "a": {
                        "job": "probe",
                        "cron": "@daily",
                        "timezone": "UTC",
                        "alert_rules": {"a\0": {}},
                    }
                }
            },
            "schedules.a.alert_rules",
        ),
    ],
)
def test_a_name_that_no_database_can_store_is_a_problem(document: dict[str, Any], where: str) -> None:
    (found,) = problems(json.dumps({"jobledger_schedules": 1, **document}))
    assert found == f'{where}."a\\u0000": it contains a NUL character; leave it out'


def test_every_problem_is_said_at_once() -> None:
    text = file_of(one=probe(cron="x"), two=probe(jitter="x", priority=-1))
    assert len(problems(text)) == 3


def problems_in_yaml(text: str) -> list[str]:
    with pytest.raises(InvalidFileError) as caught:
        import_schedules(read(text, YAML), user="root")
    return [str(each) for each in caught.value.problems]


def test_the_manual_shows_the_mistakes_of_its_own_file() -> None:
    AlertDestination.objects.create(name="pager", kind="mail", addresses="ops@example.com")
    page = (Path(__file__).parents[6] / "docs" / "how-to" / "keep-schedules-in-a-file.md").read_text()
    file, mistakes = (block.partition("```")[0] for block in page.split("```text\n")[1:3])
    assert actions(imported(file)) == {"cleanup at night": "add"}
    PeriodicTask.objects.all().delete()
    wrong = file.replace("30 3 * * mon-fri", "30 25 * * mon-fri").replace("jitter", "jiter")
    assert "\n".join(problems_in_yaml(wrong)) + "\n" == mistakes


def test_mistakes_of_every_kind_are_said_at_once() -> None:
    Calendar.objects.create(name="holidays", entries="sat")
    file = {
        "jobledger_schedules": 1,
        "calendars": {"closed": {"entries": ["someday"]}},
        "schedules": {
            "keys": probe(jiter="5 min", priority="high", queue="a b"),
            "shape": probe(
                timezone="", cron="61 * * * *", start_time="tomorrow", misfire="never", declared_as="\n"
            ),
            "target": {**probe(jitter="soon"), "job": "prob", "options": {"anything": 1}},
            "secrets": probe(ping_url=MASK, headers={"api_key": MASK}, catch_up_limit=0),
            "rules": probe(catch_up_limit=0, alert_rules={"x": {"destinations": ["ops"], "kinds": ["sad"]}}),
            "a": {"job": "probe", "after": ["b"], "misfire": "never"},
            "b": {"job": "probe", "after": ["a", "absent"]},
            "closed": probe(not_on=["closed"], only_on=["holidays"]),
            "fine": probe(not_on=["holidays"]),
            "none": 3,
        },
    }
    found = [each.partition(": ")[0] for each in problems(json.dumps(file))]
    assert sorted(found) == sorted(
        [
            "calendars.closed.entries",
            *(f"schedules.keys.{key}" for key in ("jiter", "priority", "queue")),
            *(
                f"schedules.shape.{key}"
                for key in ("timezone", "cron", "start_time", "misfire", "declared_as")
            ),
            *(f"schedules.target.{key}" for key in ("job", "jitter")),
            *(f"schedules.secrets.{key}" for key in ("ping_url", "headers.api_key", "catch_up_limit")),
            *(f"schedules.rules.{key}" for key in ("catch_up_limit",)),
            *(f"schedules.rules.alert_rules.x.{key}" for key in ("destinations", "kinds")),
            *(f"schedules.{key}" for key in ("a.misfire", "a.after", "b.after", "none")),
        ]
    )
    assert not PeriodicTask.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [{"timezon": "UTC", "timezone": ""}, {"jbo": "probe", "job": ""}, {"corn": "x", "cron": ""}, {"cron": 5}],
)
def test_what_is_missing_only_because_its_key_is_wrong_is_not_said_as_well(wrong: dict[str, Any]) -> None:
    values = {key: value for key, value in probe(**wrong).items() if value}
    (found,) = problems(file_of(nightly=values))
    assert found.startswith(f"schedules.nightly.{next(iter(wrong))}: ")


# Secrets


def test_a_masked_secret_keeps_the_stored_value() -> None:
    key = json.dumps({"api_key": "s3cret", "days": 3})
    schedule = hourly("mine", task="probes.choosing", kwargs=key, headers='{"auth_token": "t0ken"}')
    SchedulePolicy.objects.filter(schedule=schedule).update(ping_url="https://hc-ping.com/1")
    text = exported()
    assert not [secret for secret in ("s3cret", "t0ken", "hc-ping") if secret in text]
    assert actions(imported(text)) == {"mine": "none"}
    assert actions(imported(text.replace("days: 3", "days: 4"))) == {"mine": "change"}
    schedule.refresh_from_db()
    assert json.loads(schedule.kwargs) == {"api_key": "s3cret", "days": 4}
    assert json.loads(schedule.headers) == {"auth_token": "t0ken"}
    assert SchedulePolicy.objects.get().ping_url == "https://hc-ping.com/1"


def test_a_secret_in_the_file_is_stored_and_never_shown() -> None:
    hourly("mine", task="probes.choosing", kwargs='{"api_key": "s3cret"}')
    found = imported(exported().replace(MASK, "n3wer"))
    assert json.loads(PeriodicTask.objects.get().kwargs) == {"api_key": "n3wer"}
    assert "n3wer" not in str(found) + str(list(AuditEntry.objects.values()))
    assert [each.key for each in found["mine"].differences] == ["Option api_key"]


def test_a_mask_without_a_stored_secret_is_refused() -> None:
    text = file_of(mine={**probe(), "job": "choosing", "options": {"api_key": MASK}})
    (found,) = problems(text)
    assert found.startswith("schedules.mine.options.api_key: no secret is stored")


# Alert rules and declarations


def test_alert_rules_are_added_changed_and_deleted() -> None:
    ops = AlertDestination.objects.create(name="ops", kind="mail", addresses="ops@example.com")
    schedule = hourly("mine")
    schedule.alert_rules.create(name="gone")
    schedule.alert_rules.create(name="stays", after_failures=2)
    documents: Any = dict(all_documents(PeriodicTask.objects.all()))
    own = {"stays": {"after_failures": 3}, "new": {"destinations": ["ops"], "late_after": "10 min"}}
    imported(file_text({"mine": {**documents["mine"], "alert_rules": own}}, YAML))
    assert {rule.name: rule.after_failures for rule in schedule.alert_rules.all()} == {"stays": 3, "new": 1}
    assert list(AlertRule.objects.get(name="new").destinations.all()) == [ops]
    entries = AuditEntry.objects.filter(object_type="jobledger.alertrule").values_list("object_name", "verb")
    assert sorted(entries) == [("gone", "deleted"), ("new", "added"), ("stays", "changed")]


def test_a_file_that_writes_the_same_differently_changes_and_logs_nothing() -> None:
    for name in "b", "a":
        AlertDestination.objects.create(name=name, kind="mail", addresses="ops@example.org")
    rule = {"kinds": ["failed"], "enabled": True, "destinations": ["b", "a"]}
    mine = {"job": "probe", "cron": "0 3 * * *", "timezone": "UTC", "alert_rules": {"nightly": rule}}
    calendars = {"closed": {"description": "", "entries": ["sat "]}}
    document = {"jobledger_schedules": 1, "calendars": calendars, "schedules": {"mine": mine}}
    imported(json.dumps(document), JSON)
    logged = AuditEntry.objects.count()
    assert set(actions(imported(json.dumps(document), JSON)).values()) == {"none"}
    assert [each.text for each in AuditEntry.objects.order_by("pk")[logged:]] == []


def test_a_renamed_schedule_still_follows_its_declaration_elsewhere() -> None:
    sync()
    PeriodicTask.objects.filter(name="hello").update(name="greeting")
    text = exported()
    PeriodicTask.objects.all().delete()
    DeclaredSchedule.objects.all().delete()
    imported(text)
    sync()
    assert not PeriodicTask.objects.filter(name="hello").exists()
    assert DeclaredSchedule.objects.filter(name="hello", schedule__name="greeting").exists()


def test_a_stored_schedule_keeps_its_origin() -> None:
    sync()
    text = exported().replace("    declared_as: hello\n", "")
    assert set(actions(imported(text)).values()) == {"none"}
    assert DeclaredSchedule.objects.filter(name="hello", schedule__name="hello").exists()


def test_a_declaration_of_another_schedule_is_not_taken_away() -> None:
    sync()
    hello: Any = dict(all_documents(PeriodicTask.objects.filter(name="hello")))["hello"]
    (found,) = problems(file_of(hello=hello, mine=probe(declared_as="hello")))
    assert found == (
        'schedules.mine.declared_as: this declaration belongs to the schedule "hello": give that one this '
        "name, or delete it, or leave the key out"
    )


def test_an_import_renames_a_declared_schedule_back() -> None:
    sync()
    then = follower("hello", since=NOON, name="then")
    text = exported()
    schedule = PeriodicTask.objects.get(name="hello")
    schedule.name = "hallo"
    schedule.save()
    for prune in (False, True):
        found = imported(text, dry_run=True, prune=prune)
        assert {name: each for name, each in actions(found).items() if each != "none"} == {"hello": "change"}
        assert [(each.key, each.old, each.new) for each in found["hello"].differences] == [
            ("name", '"hallo"', '"hello"')
        ]
    imported(text, prune=True)
    schedule.refresh_from_db()
    assert schedule.name == "hello"
    assert [link.schedule for link in then.predecessors.all()] == [schedule]
    entry = AuditEntry.objects.get(object_id=str(schedule.pk), verb="changed")
    assert entry.changes == [["Name", "hallo", "hello"]]
    assert set(actions(imported(text)).values()) == {"none"}


def test_what_else_differs_in_a_renamed_schedule_is_changed_with_its_name() -> None:
    sync()
    text = exported()
    schedule = PeriodicTask.objects.get(name="hello")
    described = schedule.description
    PeriodicTask.objects.filter(name="hello").update(name="hallo", description="other")
    found = imported(text)["hello"]
    assert [each.key for each in found.differences] == ["name", "description"]
    schedule.refresh_from_db()
    assert (schedule.name, schedule.description) == ("hello", described)


def test_a_renamed_schedule_that_is_in_the_file_under_both_names_keeps_its_own() -> None:
    sync()
    PeriodicTask.objects.filter(name="hello").update(name="hallo")
    documents: Any = dict(all_documents(PeriodicTask.objects.filter(name="hallo")))
    (found,) = problems(file_of(hallo=documents["hallo"], hello=documents["hallo"]))
    assert found.startswith('schedules.hello.declared_as: this declaration belongs to the schedule "hallo"')


def test_an_interval_keeps_its_grid() -> None:
    schedule = every(90, "mine")
    anchor = SchedulePolicy.objects.get(schedule=schedule).anchor
    text = exported()
    assert "every: 90 seconds" in text
    PeriodicTask.objects.all().delete()
    imported(text)
    assert SchedulePolicy.objects.get().anchor == anchor == NOON - timedelta(days=1)


def test_an_interval_that_gets_another_grid_starts_nothing_at_once() -> None:
    schedule = every(3600, "mine")
    slot = NextSlot.objects.get().slot
    assert slot is not None
    last = slot - timedelta(hours=1)
    NextSlot.objects.update(handled_until=last)
    anchor = str(complete_document_of(PeriodicTask.objects.get())["anchor"])
    other = last + (timezone.now() - last) / 2
    imported(exported().replace(anchor, other.isoformat()))
    assert SchedulePolicy.objects.get(schedule=schedule).anchor == other
    assert not Run.objects.exists()
