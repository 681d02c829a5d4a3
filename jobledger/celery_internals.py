"""The private parts of Celery that tasks are created with. No other module touches them.

A comment on each use says what the public API lacks. Tests fail if a Celery release changes any of them.
"""

from collections.abc import Callable

from celery import Celery, _state


def for_each_app(create: Callable[[Celery], None]) -> None:
    """Call it once for each Celery app that is finalized, now or later, as ``shared_task`` creates a task."""
    # `shared_task` itself takes options that are the same for all apps. The app's own signal would have to be
    # connected for each app, and is sent when the tasks of other modules may be in use already.
    _state.connect_on_app_finalize(create)
    apps = _state._get_active_apps()  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public list
    for app in apps:
        if app.finalized:
            with app._finalize_mutex:  # noqa: SLF001 - two threads must not create the same task
                create(app)
