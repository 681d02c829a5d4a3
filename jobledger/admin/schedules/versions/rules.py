"""The alert rules and the declaration that belong to a schedule, saved from its document."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib import admin
from django_celery_beat.models import PeriodicTask

from jobledger.admin import audit_log
from jobledger.admin.alerts.rules import RuleAdmin, RuleForm
from jobledger.admin.rights import User
from jobledger.models import AlertDestination, AlertRule, DeclaredSchedule
from jobledger.schedules.declared.merge import FIELDS, UNKNOWN, Values
from jobledger.schedules.documents import rule_document
from jobledger.schedules.documents.files import Path
from jobledger.schedules.documents.keys import RULE_KEYS, Document, Kind

KEY = "alert_rules"


def delete_others(user: User | str, schedule: PeriodicTask, names: Mapping[str, Document]) -> None:
    """Delete the schedule's rules that do not have these names."""
    for rule in schedule.alert_rules.exclude(name__in=names):
        _admin().log_own_deletion(user, rule)
        rule.delete()


def save(
    user: User | str, schedule: PeriodicTask, documents: Mapping[str, Document]
) -> list[tuple[Path, str]]:
    """Save the rules that differ; returns what is wrong with them, by the keys of the schedule's document."""
    stored = {rule.name: rule for rule in schedule.alert_rules.all()}
    found = []
    for name, document in documents.items():
        rule = stored.get(name)
        if rule is None or rule_document(rule) != document:
            found += [
                ((KEY, name, *path), text) for path, text in _save(user, schedule, name, document, rule)
            ]
    return found


def problems(schedule: PeriodicTask | None, documents: Mapping[str, Document]) -> list[tuple[Path, str]]:
    """What is wrong with the rules of a schedule that cannot be saved; None if it is new."""
    stored = {rule.name: rule for rule in schedule.alert_rules.all()} if schedule else {}
    found = []
    for name, document in documents.items():
        _, wrong = _checked(schedule.name if schedule else "", name, document, stored.get(name))
        found += [((KEY, name, *path), text) for path, text in wrong]
    return found


def missing_destinations(document: Document) -> list[str]:
    """The destinations of a schedule's alert rules that do not exist."""
    named = {name for rule in document.get(KEY, {}).values() for name in rule.get("destinations", [])}
    known = AlertDestination.objects.filter(name__in=named).values_list("name", flat=True)
    return sorted(named.difference(known))


def owner_of(declaration: str) -> str:
    """The name of the schedule that follows it; empty if there is none."""
    record = DeclaredSchedule.objects.filter(name=declaration).select_related("schedule").first()
    return str(record.schedule.name) if record and record.schedule else ""


def link_declaration(schedule: PeriodicTask, name: str) -> bool:
    """Let the schedule follow its declaration again, if it has one; False if that belongs to another one."""
    if not name:
        return True
    record, _is_new = DeclaredSchedule.objects.get_or_create(name=name)
    if record.schedule_id not in (None, schedule.pk):
        return False
    record.schedule = schedule
    if not record.declared:
        # As for a schedule that is adopted: all of its values may be users' decisions.
        record.declared = Values.from_json(dict.fromkeys(FIELDS, UNKNOWN)).as_json()
    record.save()
    return True


def _save(
    user: User | str, schedule: PeriodicTask, name: str, document: Document, rule: AlertRule | None
) -> Iterator[tuple[Path, str]]:
    form, wrong = _checked(schedule.name, name, document, rule)
    if wrong:
        yield from wrong
        return
    before = _admin().readable(AlertRule.objects.get(pk=rule.pk)) if rule else {}
    saved = form.save()
    changes = audit_log.differences(before, _admin().readable(saved))
    if changes:  # otherwise, it was only written differently
        audit_log.log_edit(user, saved, changes, verb=audit_log.CHANGED if rule else audit_log.ADDED)


def _checked(
    schedule: str, name: str, document: Document, rule: AlertRule | None
) -> tuple[RuleForm, list[tuple[Path, str]]]:
    """The form of a rule of the schedule of this name, and what is wrong with it."""
    names = document.get("destinations", [])
    ids = dict(AlertDestination.objects.filter(name__in=names).values_list("name", "pk"))
    missing = [each for each in names if each not in ids]
    text = f"there is no alert destination {', '.join(map(repr, missing))}"
    found = [(("destinations",), text)] if missing else []
    form = RuleForm({"name": name, "schedule": schedule, **_data(document, ids)}, instance=rule)
    return form, [*found, *_errors(form)]


def _data(document: Document, ids: Mapping[str, int]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for name, key in RULE_KEYS.items():
        value = document.get(name, key.default)
        if key.kind is Kind.NAMES:
            data[name] = [ids[each] for each in value if each in ids] if name == "destinations" else value
        elif key.kind is not Kind.FLAG:
            data[name] = "" if value is None else str(value)
        elif value:
            data[name] = "on"
    return data


def _errors(form: RuleForm) -> Iterator[tuple[Path, str]]:
    for field, texts in form.errors.items():
        path = (field,) if field in RULE_KEYS else ()
        yield from ((path, str(text)) for text in texts)


def _admin() -> RuleAdmin:
    return RuleAdmin(AlertRule, admin.site)
