"""Saving a schedule from its document, as an import of a file with this schedule alone would."""

import json
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest
from django_celery_beat.models import PeriodicTask

from jobledger.admin import rights
from jobledger.admin.rights import User
from jobledger.admin.schedules.versions import rules
from jobledger.admin.schedules.versions.importing import MeanwhileChangedError, save_schedules
from jobledger.api import schemas
from jobledger.api.authentication import require
from jobledger.api.problems import ProblemError
from jobledger.jobs import json_text
from jobledger.schedules.documents import NotRepresentableError, complete_document_of
from jobledger.schedules.documents.files import (
    JSON,
    SCHEDULES,
    VERSION,
    VERSION_KEY,
    InvalidFileError,
    ScheduleFile,
    path_text,
    read,
)
from jobledger.schedules.documents.keys import Document


def document_in(request: HttpRequest, body: schemas.ScheduleIn) -> tuple[str, Document]:
    """The name and the document of a request."""
    # django-ninja hands over only the fields that a schema names.
    content = json_text.parse(request.body.decode())
    return body.name, {key: value for key, value in content.items() if key != "name"}


def saved(
    user: User, name: str, document: Document, stored: PeriodicTask | None, *, version: str | None = None
) -> PeriodicTask:
    """The schedule, saved. Raises ProblemError. ``version`` is the one that the client has read."""
    try:
        file = _file(name, document)
        _require_rules(user, file.documents[name], stored)
        versions = {} if version is None else {name: version}
        renamed = {name: stored.name} if stored and stored.name != name else {}
        save_schedules(file, user=user, versions=versions, renamed=renamed)
    except InvalidFileError as error:
        raise _invalid(error) from error
    except MeanwhileChangedError as error:
        status = HTTPStatus.CONFLICT if version is None else HTTPStatus.PRECONDITION_FAILED
        detail = "Nothing was saved: the schedule has been changed. Read it again, and repeat your change."
        raise ProblemError(status, detail) from error
    return PeriodicTask.objects.get(name=name)


def _file(name: str, document: Document) -> ScheduleFile:
    content = {VERSION_KEY: VERSION, SCHEDULES: {name: document}}
    return read(json.dumps(content, ensure_ascii=False), JSON)


def _require_rules(user: User, document: Document, stored: PeriodicTask | None) -> None:
    """Alert rules have permissions of their own in the admin."""
    before: Any = {}
    if stored is not None:
        try:
            before = complete_document_of(stored).get(rules.KEY, {})
        except NotRepresentableError:
            before = None
    if document.get(rules.KEY, {}) != before:
        require(rights.may_edit_alert_rules(user), "add, change and delete alert rules")


def _invalid(error: InvalidFileError) -> ProblemError:
    errors = [
        {"location": ".".join(filter(None, ("body", path_text(each.path[2:])))), "detail": each.text}
        for each in error.problems
    ]
    detail = "; ".join(f"{each['location']}: {each['detail'].removesuffix('.')}" for each in errors)
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return ProblemError(status, f"The schedule is not valid: {detail}.", errors=errors)
