"""What is wrong with a declaration is found before it is applied, with its job, field and fix."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from pytest_django import Settings

from jobledger.jobs import registry
from jobledger.jobs.declaration import Schedule, SolarEvent
from jobledger.jobs.options import OptionsError
from jobledger.schedules.declared import (
    DeclarationError,
    all_declared,
    problems,
    unknown_environments,
    validated,
)
from tests.unit.builders import override
from tests.unit.jobledger.schedules.declared.builders import JOB, declare

IN_THE_GAP = datetime.fromisoformat("2030-03-31T01:30")
EVER = timedelta.max
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"every": 900}, "every: 900 is not a positive timedelta in whole seconds"),
    ({"at": "2030-01-01"}, "at: '2030-01-01' is not a datetime"),
    (
        {"at": IN_THE_GAP, "timezone": "Europe/London"},
        "at: 2030-03-31 01:30:00 does not exist",
    ),
    ({"solar": "sunset"}, "solar: 'sunset' is not an event, such as SolarEvent"),
    (
        {"solar": SolarEvent(event="noon", latitude=0, longitude=0)},
        "solar: event: 'noon' is not one of dawn_",
    ),
    ({"solar": SolarEvent(event="sunset", latitude=91, longitude=0)}, "solar: latitude: 91.0 is not between"),
    ({"cron": "0 3 * * *", "timezone": 5}, "timezone: '5' is not an IANA time zone"),
    ({"cron": "0 3 * * *", "name": "a\nb"}, "name is 'a\\\\nb'; expected a text of up to 200 characters"),
    ({"cron": "0 3 * * *", "name": "x" * 201}, "name is 'x+'; expected a text of up to"),
    ({"cron": "0 3 * * *", "enabled": "no"}, "enabled is 'no'; expected True or False"),
    ({"cron": "0 3 * * *", "only_in": "production"}, "only_in is 'production'; expected a tuple"),
    ({"cron": "0 3 * * *", "queue": "a,b"}, "queue is 'a,b'; expected the name of a queue"),
    ({"cron": "0 3 * * *", "queue": None}, "queue is None; expected the name of a queue"),
    ({"cron": "0 3 * * *", "priority": 256}, "priority is 256; expected a number from 0 to 255"),
    ({"cron": "0 3 * * *", "priority": True}, "priority is True; expected a number from 0 to 255"),
    ({"cron": "0 3 * * *", "misfire": "never"}, "misfire is 'never'; expected one of Misfire.SKIP"),
    ({"cron": "0 3 * * *", "catch_up_limit": 0}, "catch_up_limit is 0; expected a number from 1 to 10000"),
    (
        {"cron": "0 3 * * *", "starting_deadline": timedelta(0)},
        "starting_deadline is .*; expected a positive",
    ),
    ({"cron": "0 3 * * *", "jitter": 5}, "jitter is 5; expected a timedelta"),
    ({"cron": "0 3 * * *", "jitter": timedelta.max}, "jitter is .*; expected a timedelta"),
    (
        {"cron": "0 3 * * *", "concurrency": "maybe"},
        "concurrency is 'maybe'; expected one of Concurrency.FORBID",
    ),
    ({"cron": "0 3 * * *", "time_limit": timedelta(0)}, "time_limit is .*; expected a positive timedelta"),
    ({"cron": "0 3 * * *", "time_limit": timedelta(days=1001)}, "time_limit is .*; expected a positive"),
    ({"cron": "0 3 * * *", "time_limit": 600}, "time_limit is 600; expected a positive timedelta"),
    ({"cron": "0 3 * * *", "time_limit_grace": EVER}, "time_limit_grace is .*; expected a timedelta"),
    ({"cron": "0 3 * * *", "description": 5}, "description is 5; expected a text, or None"),
    ({"cron": "0 3 * * *", "options": ["x"]}, r"options is \['x'\]; expected a dictionary"),
    ({"cron": "0 3 * * *", "options": {"call_job": EVER}}, "options: Object of type timedelta is not"),
    ({"cron": "0 3 * * *", "options": {"nope": 1}}, "options: .*nope.*see `manage.py plain_probe --help`"),
]


@pytest.mark.parametrize(("values", "text"), FAULTS, ids=[text[:40] for _, text in FAULTS])
def test_a_fault_stops_with_its_job_field_and_fix(
    settings: Settings, values: dict[str, Any], text: str
) -> None:
    if "solar" in values:
        pytest.importorskip("ephem")
    declare(settings, Schedule(**values))
    with pytest.raises(DeclarationError, match=f"schedule .* of job plain_probe: {text}"):
        validated()


def test_all_faults_are_named_at_once(settings: Settings) -> None:
    declare(settings, Schedule("0 3 * *", priority=-1), Schedule("often", name="other"))
    with pytest.raises(DeclarationError) as error:
        validated()
    assert str(error.value).count("of job plain_probe: ") == 3


def test_two_schedules_of_the_same_name_are_a_fault(settings: Settings) -> None:
    declare(settings, Schedule("0 3 * * *"), Schedule("0 4 * * *"))
    with pytest.raises(DeclarationError, match=r"schedule 'plain_probe' is declared 2 times .*Give each"):
        validated()


@pytest.mark.parametrize(
    ("schedules", "text"),
    [
        ({"plain_prob": []}, r"names 'plain_prob', which is not a job. Did you mean plain_probe\?"),
        ({"flush": []}, r"names 'flush', which is not a job. Add the command to EXPOSED_COMMANDS"),
        (
            {"plain_probe": ["@daily"]},
            r"\['plain_probe'\] contains an object of type str; expected a Schedule",
        ),
    ],
)
def test_a_fault_of_the_setting_stops(settings: Settings, schedules: Any, text: str) -> None:
    override(settings, EXPOSED_COMMANDS=[JOB], SCHEDULES=schedules)
    with pytest.raises(DeclarationError, match=rf'JOBLEDGER\["SCHEDULES"\]{text}|JOBLEDGER.*{text}'):
        validated()


def test_a_job_that_cannot_be_imported_stops_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = registry.ImportFailure(module="shop.management.commands.sell", error="ImportError: no")
    monkeypatch.setattr(registry, "import_failures", lambda: (failure,))
    override(settings, SCHEDULES={"sell": [Schedule("@daily")]})
    assert "sell" not in {one.name for one in validated()}


def test_a_job_that_cannot_tell_its_options_stops_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(job: registry.Job) -> Any:
        raise OptionsError("cannot tell its options")

    declare(settings, Schedule("@daily", options={"any": 1}))
    monkeypatch.setattr(registry.Job, "create_validating_parser", fails)
    assert JOB in {one.name for one in validated()}


@pytest.mark.parametrize("schedules", [Schedule("@daily"), ["@daily"], None])
def test_anything_but_a_list_of_schedules_stops(settings: Settings, schedules: Any) -> None:
    override(settings, EXPOSED_COMMANDS={JOB: {"schedules": schedules}})
    with pytest.raises(DeclarationError, match=r"schedules of job plain_probe is .*; expected a list"):
        validated()


def test_every_argument_of_a_schedule_is_valid_by_default(settings: Settings) -> None:
    declare(settings, Schedule("@daily"))
    assert not [each for one in all_declared() for each in problems(one)]


# Environments

LIMITED = Schedule("@daily", only_in=("production",))
KNOWN = ["production", "staging"]


@pytest.mark.parametrize(
    ("environment", "known", "schedule", "found"),
    [
        ("staging", KNOWN, LIMITED, []),
        ("", [], Schedule("@daily"), []),
        ("anything", [], Schedule("@daily"), []),
        ("stagging", KNOWN, Schedule("@daily"), ["JOBLEDGER[\"ENVIRONMENT\"] is 'stagging'"]),
        ("", KNOWN, LIMITED, ["JOBLEDGER[\"ENVIRONMENT\"] is ''"]),
        (
            "staging",
            KNOWN,
            Schedule("@daily", only_in=("prod",)),
            ["only_in of the schedule 'plain_probe' of the job plain_probe names 'prod'"],
        ),
    ],
)
def test_an_unknown_environment_is_reported(
    settings: Settings, environment: str, known: list[str], schedule: Schedule, found: list[str]
) -> None:
    declare(settings, schedule)
    override(settings, ENVIRONMENT=environment, ENVIRONMENTS=known)
    assert list(unknown_environments()) == found
