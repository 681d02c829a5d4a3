"""The project's Celery app."""

from celery import current_app


def test_remote_control_is_off_unless_the_environment_enables_it() -> None:
    assert current_app.conf.worker_enable_remote_control is False
