"""Fills in the edit form from a document, so that a single validation applies to every way to edit."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from django.forms import BaseForm
from django_celery_beat.models import PeriodicTask

from jobledger.admin.schedules.editing import calendars_form, forms, policy_form, target
from jobledger.admin.schedules.editing.edit_form import EditForm
from jobledger.escapes import escaped
from jobledger.jobs import registry, secrets
from jobledger.models import DeclaredSchedule, Dialect, SchedulePolicy
from jobledger.schedules import stored_schedules
from jobledger.schedules.documents.files import Path
from jobledger.schedules.documents.keys import (
    CALENDAR_KEYS,
    DELIVERY_KEYS,
    KEYS,
    OWN_KEYS,
    POLICY_KEYS,
    SOLAR_KEYS,
    Document,
    Key,
    Kind,
)
from jobledger.schedules.rules.wallclock import EARLIEST, LATEST, is_representable
from jobledger.schedules.stored_times import ClockedTimes

TIMINGS = ("cron", "every", "at", "solar", "after")
_ONLY_WITH = {"timezone": ("cron", "at"), "after_failure": ("after",)}
"""With which timings these keys mean anything."""
_EVERY = re.compile(r"([0-9]{1,10}) *(microsecond|second|minute|hour|day)s?")
_ORIGINS = {
    "declared_as": DeclaredSchedule._meta.get_field("name"),
    "imported_line": SchedulePolicy._meta.get_field("imported_line"),
}
_NO_TIME = (
    f"is not a time with an offset, such as 2026-12-01T03:00:00+00:00, in the years {EARLIEST.year} to "
    f"{LATEST.year - 1}"
)
_KEYS_OF_FIELDS: Mapping[str, Path] = {
    **dict.fromkeys(("kind", "name", "__all__"), ()),
    "zone": ("timezone",),
    "unit": ("every",),
    **{name: ("solar", name) for name in SOLAR_KEYS},
    "kwargs": ("options",),
}
"""Where the names of fields are not those of keys."""


def filled(
    name: str,
    document: Document,
    *,
    stored: PeriodicTask | None,
    now: datetime,
    accepts_past: bool = False,
    version: str | None = None,
    planned: Collection[str] | None = None,
) -> EditForm:
    """The form for a schedule of this name as it is in the document, compared with the stored one, if any.

    ``planned`` are the names of schedules that are saved together with it, which may not exist yet.

    Masks stand for the stored secrets. ``version`` is that of the stored schedule which the user has seen.
    """
    data = {"name": name, **form_data(document, stored)}
    form = EditForm(data, stored=stored, now=now, accepts_past=accepts_past, planned=planned)
    data["version"] = form.version if version is None else version
    policy = form.policy.instance
    if "cron" not in document:
        policy.dialect = document.get("dialect", Dialect.CRON)
    if stored is None:
        policy.imported_line = document.get("imported_line", "")
    if anchor := _time(document.get("anchor", "")):
        policy.anchor = anchor
    return form


def problems(name: str, document: Document, form: EditForm) -> list[tuple[Path, str]]:
    """All that is wrong with the values, by the keys of the document; empty if they can be saved."""
    found = list(_general_problems(name, document))
    known = {path for path, _ in found}
    for each in (form.details, form.policy, form.times, form.calendars):
        each.is_valid()
    form.target.is_valid()
    # Whether runs can be moved depends on the timing and the calendars.
    _ = form.posted_times
    errors = [(path, text) for part in _parts(form, document) for path, text in _errors(part)]
    found += [(path, text) for path, text in errors if path not in known]
    # Only then, since it asks for secrets again that would be entered in a browser.
    return found if found or form.is_valid else [((), "it is not valid")]


def missing_secrets(document: Document, stored: Document) -> list[Path]:
    """Where the document has masks for which nothing is stored."""
    has_same_target = all(document.get(key) == stored.get(key) for key in ("job", "task"))
    known = stored if has_same_target else {**stored, "options": {}, "args": []}
    return [path for path in _masks(document) if _at(known, path) != secrets.MASK]


def with_secrets(document: Document, values: Mapping[Path, str]) -> dict[str, Any]:
    """The document with values instead of masks. Where there is none, the key or element is left out."""
    found: dict[str, Any] = json.loads(json.dumps(document))
    for path, value in values.items():
        *above, last = path
        place = _at(found, tuple(above))
        if isinstance(place, list):
            place[int(last)] = value
        elif value:
            place[last] = value
        else:
            del place[last]
    return found


def form_data(document: Document, stored: PeriodicTask | None) -> dict[str, Any]:
    """What a browser would send."""
    values = {name: document.get(name, key.default) for name, key in KEYS.items()}
    data: dict[str, Any] = {**_fields("", OWN_KEYS, values), **_fields("", DELIVERY_KEYS, values)}
    data["headers"] = json.dumps(values["headers"])
    data |= _fields(f"{policy_form.PREFIX}-", POLICY_KEYS, values)
    data |= {f"{calendars_form.PREFIX}-{name}": values[name] for name in CALENDAR_KEYS}
    data |= _ping_url(values["ping_url"])
    data |= {f"times-{name}": value for name, value in _times(values, stored).items()}
    data |= {f"{target.PREFIX}-{name}": value for name, value in _target(values).items()}
    if values["at"]:
        data["one_off"] = "on"
    return data


def _fields(prefix: str, keys: Mapping[str, Key], values: Mapping[str, Any]) -> dict[str, str]:
    found = {}
    for name, key in keys.items():
        if key.kind is not Kind.FLAG:
            found[prefix + name] = "" if values[name] is None else str(values[name])
        elif values[name]:
            found[prefix + name] = "on"
    return found


def _ping_url(url: str) -> dict[str, str]:
    field = f"{policy_form.PREFIX}-ping_url"
    if url == secrets.MASK:
        return {field: ""}
    return {field: url} if url else {field: "", f"{field}-clear": "on"}


def _target(values: Mapping[str, Any]) -> dict[str, str]:
    name = values["job"] or (target.OTHER if values["task"] else "")
    return {
        "job": name,
        "shown_job": name,
        "input_mode": target.JSON,
        "shown_input_mode": target.JSON,
        "task": values["task"],
        "args": json.dumps(values["args"]),
        "kwargs": json.dumps(values["options"]),
    }


def _times(values: Mapping[str, Any], stored: PeriodicTask | None) -> dict[str, Any]:
    if values["cron"]:
        # Without one, it is refused, but the expression is to be judged as well.
        zone = values["timezone"] or "UTC"
        return {"kind": forms.CRON, "cron": values["cron"], "dialect": values["dialect"], "zone": zone}
    if found := _EVERY.fullmatch(values["every"].strip()):
        return {"kind": forms.INTERVAL, "every": found[1], "unit": f"{found[2]}s"}
    if values["at"]:
        return {"kind": forms.ONCE, **_once(values, stored)}
    if values["after"]:
        failure = {"after_failure": "on"} if values["after_failure"] else {}
        return {"kind": forms.AFTER, "after": "\n".join(values["after"]), **failure}
    place = {name: str(value) for name, value in values["solar"].items()}
    return {"kind": forms.SUN, **place}


def _once(values: Mapping[str, Any], stored: PeriodicTask | None) -> dict[str, Any]:
    times, at = stored_schedules.of(stored) if stored else None, _time(values["at"])
    if isinstance(times, ClockedTimes) and times.at == at:
        # Unchanged, so that it may be in the past.
        initial = forms.initial_of(times)
        return {name: initial[name] for name in ("at", "zone")}
    return {"at": values["at"], "zone": values["timezone"] or "UTC"}


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        time = found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None
    return time if time and is_representable(time) else None


def _general_problems(name: str, document: Document) -> Iterator[tuple[Path, str]]:
    """What the form does not see, since it would be filled in otherwise."""
    if name != name.strip():
        yield (), "a name must not begin or end with whitespace"
    yield from _target_problems(document)
    if document.get("job") and not document.get("task") and document.get("args"):
        yield ("args",), "a job takes no positional arguments here: its options have names"
    yield from _kind_problems(document)
    yield from _timing_problems(document)
    for key, column in _ORIGINS.items():
        text, longest = document.get(key, ""), column.max_length or 0
        if len(text) > longest or escaped(text) != text:
            yield (key,), f"expected at most {longest} characters, and no control characters"


def _target_problems(document: Document) -> Iterator[tuple[Path, str]]:
    """If there are any, it cannot be said which options would be valid."""
    job = document.get("job", "")
    if bool(job) == bool(document.get("task")):
        yield (), "exactly one of job and task is required"
    elif job and job not in registry.all_jobs():
        hint = registry.suggestion(job, registry.all_jobs())
        yield ("job",), f"there is no job {job!r}. {hint}".rstrip()


def _timings(document: Document) -> list[str]:
    return [key for key in TIMINGS if document.get(key)]


def _kind_problems(document: Document) -> Iterator[tuple[Path, str]]:
    """If there are any, the form for the timing would be filled in with something else."""
    given = _timings(document)
    if len(given) != 1:
        yield (), f"exactly one of {', '.join(TIMINGS)} is required, not {', '.join(given) or 'none'}"
    elif given == ["every"] and not _EVERY.fullmatch(document["every"].strip()):
        yield ("every",), f"{document['every']!r} is not an interval, such as 15 minutes"


def _timing_problems(document: Document) -> Iterator[tuple[Path, str]]:
    given = _timings(document)
    if given == ["cron"] and not document.get("timezone"):
        yield ("timezone",), "a cron expression needs one, such as Europe/London"
    for key, timings in _ONLY_WITH.items():
        if document.get(key) and given and not set(given).intersection(timings):
            yield (key,), f"it has no effect with {given[0]}: leave it out"
    with_offset = ("start_time", "expires", *(() if document.get("timezone") else ("at",)))
    for key in with_offset:
        if (text := document.get(key, "")) and not _time(text):
            yield (key,), f"{text!r} {_NO_TIME}"
    dialect = document.get("dialect", Dialect.CRON)
    if dialect not in list(Dialect):
        yield ("dialect",), f"{dialect!r} is not one of {', '.join(Dialect)}"
    if (anchor := document.get("anchor", "")) and not _time(anchor):
        yield ("anchor",), f"{anchor!r} {_NO_TIME}"


def _parts(form: EditForm, document: Document) -> Iterator[BaseForm]:
    """The forms whose errors are those of the document."""
    yield from (form.details, form.policy)
    if not any(_kind_problems(document)):
        yield form.times
    yield form.calendars
    if not any(_target_problems(document)):
        yield form.target.choice


def _errors(form: BaseForm) -> Iterator[tuple[Path, str]]:
    for field, texts in form.errors.items():
        path = _KEYS_OF_FIELDS.get(field, (field,))
        for text in texts:
            yield path, str(text).removeprefix(f"{path[-1] if path else ''}: ")


def _masks(value: Any, path: Path = ()) -> Iterator[Path]:
    if value == secrets.MASK:
        yield path
    elif isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in pairs:
            yield from _masks(each, (*path, str(key)))


def _at(value: Any, path: Path) -> Any:
    """What is there; None if there is nothing."""
    for key in path:
        if isinstance(value, dict):
            value = value.get(key)
        elif isinstance(value, list) and int(key) < len(value):
            value = value[int(key)]
        else:
            return None
    return value
