"""Rules can be edited, with the jobs and schedules that exist."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from jobledger.admin.alerts.rules import KINDS, RuleForm
from jobledger.jobs.declaration import AlertKind
from jobledger.models import AlertRule, AuditEntry
from tests.unit.jobledger.admin.change_forms import hidden_in, hidden_in_text, save
from tests.unit.jobledger.admin.schedules.schedules import unreadable
from tests.unit.jobledger.alerts.builders import destination, rule
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = pytest.mark.django_db

LIST = reverse("admin:jobledger_alertrule_changelist")
ADD = reverse("admin:jobledger_alertrule_add")


def posted(**values: Any) -> dict[str, Any]:
    return {
        "name": "pager",
        "enabled": "on",
        "kinds": ["failed", "recovered"],
        "after_failures": "1",
        "frequency": "immediately",
        **values,
    }


def page(of: AlertRule) -> str:
    return reverse("admin:jobledger_alertrule_change", args=[of.pk])


def test_a_rule_can_be_added(admin_client: Client) -> None:
    to, schedule = destination(), hourly("nightly")
    values = {"schedule": "nightly", "after_failures": "3", "late_after": "10 min", "success_within": "2d"}
    response = admin_client.post(ADD, posted(**values, destinations=[to.pk]))
    assert response.status_code == 302, response.context["errors"]
    added = AlertRule.objects.get(name="pager")
    assert (added.schedule, added.kinds, added.after_failures) == (schedule, ["failed", "recovered"], 3)
    assert (added.late_after, added.success_within) == (timedelta(minutes=10), timedelta(days=2))
    assert list(added.destinations.all()) == [to]


def test_mistakes_are_explained(admin_client: Client) -> None:
    hourly("nightly")
    both = admin_client.post(ADD, posted(job="probe", schedule="nightly")).text
    assert "Choose a job or a schedule, not both" in both
    assert "There is no schedule with this name" in admin_client.post(ADD, posted(schedule="daily")).text
    assert "greater than or equal to 1" in admin_client.post(ADD, posted(after_failures="0")).text


def test_a_name_that_is_taken_is_explained(admin_client: Client) -> None:
    rule(destination(), name="pager")
    assert "Alert rule with this Name already exists" in admin_client.post(ADD, posted()).text


def test_so_is_a_name_that_is_taken_while_the_rule_is_saved(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule(name="pager")
    validate = RuleForm.validate_unique
    # The first time, the other rule is not there yet.
    monkeypatch.setattr(
        RuleForm, "validate_unique", lambda form: monkeypatch.setattr(RuleForm, "validate_unique", validate)
    )
    assert "Alert rule with this Name already exists." in admin_client.post(ADD, posted()).text
    assert AlertRule.objects.filter(name="pager").count() == 1


def test_the_form_shows_what_is_stored(admin_client: Client) -> None:
    stored = rule(destination(), schedule=hourly("nightly"), late_after=timedelta(minutes=90))
    text = admin_client.get(page(stored)).text
    assert 'value="nightly"' in text
    assert 'value="1 h 30 min"' in text


def test_a_new_rule_starts_with_the_kinds_of_a_rule_from_the_start(admin_client: Client) -> None:
    form = admin_client.get(ADD).context["adminform"].form
    ticked = [choice.data["value"] for choice in form["kinds"] if choice.data["selected"]]
    assert set(ticked) == set(AlertRule(name="new").kinds) != set()


def test_the_list_says_in_words_what_a_rule_does(admin_client: Client) -> None:
    rule(destination(), name="a", job="probe", kinds=["failed", "late"])
    rule(name="b", kinds=[])
    text = admin_client.get(LIST).text
    assert "job probe" in text
    assert "failed, late" in text
    assert "nothing" in text
    assert "nobody" in text


def test_a_rule_of_a_job_that_is_gone_can_still_be_edited(admin_client: Client) -> None:
    stored = rule(job="gone")
    assert save(admin_client, page(stored), posted(job="gone")).status_code == 302


def test_every_kind_can_be_chosen_but_flapping() -> None:
    assert {kind for kind, _ in KINDS} == set(AlertKind) - {AlertKind.FLAPPING}


def test_an_edit_is_in_the_audit_log(admin_client: Client) -> None:
    to = destination()
    stored = rule(to, name="pager")
    save(admin_client, page(stored), posted(after_failures="3"))
    entry = AuditEntry.objects.get()
    assert ["After failures", "1", "3"] in entry.changes
    assert ["Destinations", "team", "nobody"] in entry.changes


def test_an_edit_that_somebody_else_has_made_meanwhile_is_not_overwritten_unseen(
    admin_client: Client, client: Client
) -> None:
    stored = rule(destination(), name="pager")
    client.force_login(User.objects.create_superuser("ann"))
    opened = hidden_in(admin_client, page(stored))
    save(client, page(stored), posted(after_failures="3"))
    refused = admin_client.post(page(stored), posted(after_failures="5") | opened)
    assert "This alert rule was changed while you were editing it." in refused.text
    assert "ann, " in refused.text
    assert "After failures: 1 → 3" in refused.text
    assert AlertRule.objects.get(name="pager").after_failures == 3
    # The user has been told, and saves again what the form still says.
    overwriting = hidden_in_text(refused.text)
    assert 'value="5"' in refused.text
    assert admin_client.post(page(stored), posted(after_failures="5") | overwriting).status_code == 302
    assert AlertRule.objects.get(name="pager").after_failures == 5


def test_so_is_one_whose_form_has_another_mistake(admin_client: Client) -> None:
    stored = rule(name="pager")
    opened = hidden_in(admin_client, page(stored))
    refused = admin_client.post(page(stored), posted(after_failures="0") | opened)
    assert "was changed while you were editing it" not in refused.text
    rule(name="other")
    AlertRule.objects.filter(pk=stored.pk).update(enabled=False)
    kept = hidden_in_text(refused.text)
    assert "was changed while" in admin_client.post(page(stored), posted() | kept).text


def test_a_form_without_the_version_that_it_shows_is_refused(admin_client: Client) -> None:
    stored = rule(name="pager")
    save(admin_client, page(stored), posted(enabled=""))
    refused = admin_client.post(page(stored), posted(after_failures="3"))
    assert "What was sent does not say which version of this alert rule it is based on" in refused.text
    # Nor what its sender has seen, which may be all of them.
    assert "admin, " not in refused.text
    assert AlertRule.objects.get(name="pager").after_failures == 1


@pytest.mark.django_db(transaction=True)
def test_its_history_is_shown_however_it_is_asked_for(admin_client: Client) -> None:
    """Django opens no transaction for it, which a lock needs."""
    history = reverse("admin:jobledger_alertrule_history", args=[rule(name="pager").pk])
    assert admin_client.post(history).status_code == 200


def test_a_viewer_reads_which_runs_it_is_about_whatever_the_times_of_the_schedule_are(client: Client) -> None:
    user = User.objects.create_user("ann", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_alertrule"))
    client.force_login(user)
    shown = client.get(page(rule(schedule=unreadable(hourly("nightly")))))
    assert shown.status_code == 200
    assert "schedule nightly" in shown.text
    assert "/periodictask/" not in shown.text
