"""Makes rows of the sample domain, and starts its jobs."""

import io
import itertools
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import call_command

from jobledger.models import Run, Trigger
from jobledger.runs import dispatch
from jobledger.runs.execution import runner
from tasks_app.models import AuthToken, Order, Tag

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""The current time in most tests."""

_numbers = itertools.count(1)


def make_user(email: str = "anna@example.com") -> Any:
    return get_user_model()._default_manager.create(username=f"user-{next(_numbers)}", email=email)


def make_token(created_at: datetime, user: Any = None) -> AuthToken:
    return AuthToken.objects.create(user=user or make_user(), created_at=created_at)


def make_tokens(count: int, created_at: datetime) -> None:
    user = make_user()
    AuthToken.objects.bulk_create(AuthToken(user=user, created_at=created_at) for _ in range(count))


def make_order(created_at: datetime, total: str = "10.00", *tags: str, user: Any = None) -> Order:
    order = Order.objects.create(user=user or make_user(), created_at=created_at, total=Decimal(total))
    order.tags.set([Tag.objects.get_or_create(name=name)[0] for name in tags])
    return order


def invalid_choice(value: object) -> str:
    """What argparse says of a value that is none of the choices. Since Python 3.14, it quotes its text."""
    return f"invalid choice: {(str(value) if sys.version_info >= (3, 14) else value)!r}"


def override(settings: Any, **values: Any) -> None:
    """Override keys of JOBLEDGER with pytest-django's fixture."""
    settings.JOBLEDGER = {**settings.JOBLEDGER, **values}


def output_of(*line: str) -> str:
    """What a command writes to stdout."""
    stdout = io.StringIO()
    call_command(*line, stdout=stdout)
    return stdout.getvalue()


def run_for_slot(job: str, slot: datetime, **options: Any) -> Run:
    """A run that a schedule's slot asked for, executed as a worker would."""
    request = dispatch.RunRequest(job=job, options=options, trigger=Trigger.SCHEDULE, scheduled_for=slot)
    run = dispatch.receive(f"run-{next(_numbers)}", lambda: request)
    ended = runner.execute(run.pk, worker="test")
    assert ended is not None
    return ended.run


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]
