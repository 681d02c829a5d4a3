"""Each job is a Celery task."""

from celery import Celery, current_app


def test_a_job_is_acknowledged_late_whatever_the_projects_tasks_do() -> None:
    app = Celery("mine", set_as_current=False)
    app.finalize()
    current_app.loader.import_default_modules()
    job, other = app.tasks["probes.probe"], app.tasks["tests.probes.tasks.add"]
    assert (job.acks_late, job.reject_on_worker_lost) == (True, False)
    assert (other.acks_late, other.reject_on_worker_lost) == (False, None)


def test_only_jobs_have_tasks() -> None:
    current_app.loader.import_default_modules()
    assert "sessions.clearsessions" in current_app.tasks
    assert not [name for name in current_app.tasks if "unexposed" in name or name.endswith(".flush")]
