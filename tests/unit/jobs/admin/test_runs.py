"""Runs are read in the admin: listed, filtered, and shown with their output as data."""

import pytest
from django.test import Client
from django.urls import reverse

from tasks_app.jobs.models import Run, RunOutput, Status, Stream, Trigger

pytestmark = pytest.mark.django_db


def made(**values: object) -> Run:
    return Run.objects.create(
        **{"job": "probe", "trigger": Trigger.CLI, "status": Status.SUCCEEDED, **values}
    )


def test_the_list_shows_job_state_and_error(admin_client: Client) -> None:
    run = made(status=Status.FAILED, error="no luck\nat all")
    page = admin_client.get(reverse("admin:jobs_run_changelist")).text
    assert str(run.pk)[:8] in page
    assert "✘ failed" in page
    assert "no luck" in page
    assert "at all" not in page


def test_the_list_can_be_filtered(admin_client: Client) -> None:
    made(job="other_job")
    made(status=Status.MISSED)
    page = admin_client.get(reverse("admin:jobs_run_changelist"), {"status__exact": "missed"}).text
    assert "1 run" in page


def test_every_state_has_its_mark(admin_client: Client) -> None:
    for status in Status:
        made(status=status)
    assert admin_client.get(reverse("admin:jobs_run_changelist")).status_code == 200


def test_a_run_shows_its_output_in_order_and_as_data(admin_client: Client) -> None:
    run = made()
    for number, text in enumerate(["first\n", "<script>alert(1)</script>\n"]):
        RunOutput.objects.create(run=run, number=number, stream=Stream.STDOUT, text=text)
    page = admin_client.get(reverse("admin:jobs_run_change", args=[run.pk])).text
    assert "<pre>first\n&lt;script&gt;alert(1)&lt;/script&gt;\n</pre>" in page
    assert "<script>alert(1)</script>" not in page


def test_nobody_edits_what_happened(admin_client: Client) -> None:
    run = made()
    assert admin_client.get(reverse("admin:jobs_run_add")).status_code == 403
    response = admin_client.post(reverse("admin:jobs_run_change", args=[run.pk]), {"status": "succeeded"})
    assert response.status_code == 403
