"""The whole service: its state, and pausing it."""

from typing import Any

from django.http import HttpRequest
from ninja import Router

import jobledger
from jobledger import clock
from jobledger.admin import pauses as admin_pauses
from jobledger.admin import rights
from jobledger.api import schemas
from jobledger.api.authentication import require, token_of, user_of
from jobledger.api.endpoints.pausing import paused, resumed, terms_of
from jobledger.api.responses import ERRORS, pauses_of
from jobledger.health import readiness
from jobledger.schedules import pausing

router = Router()


@router.get("/service", response={200: schemas.Service, **ERRORS}, summary="Show the service's state")
def show_service(request: HttpRequest) -> dict[str, Any]:
    """Whether jobs can start, as /readyz says it; also if they cannot, the status is 200."""
    user = user_of(request)
    require(rights.may_view(user) or rights.may_view_schedules(user), "see the service's state")
    found = pausing.active_pauses(None, clock.now()).order_by("since")
    return {"version": jobledger.__version__, **readiness.read().as_json(), "pauses": pauses_of(found)}


@router.post("/service/pause", response={200: schemas.Paused, **ERRORS}, summary="Pause the whole service")
def pause_service(request: HttpRequest, body: schemas.PauseTerms | None = None) -> dict[str, Any]:
    """No schedule starts anything meanwhile, except those of jobs that declare runs_while_paused."""
    _require_pause(request)
    now = clock.now()
    terms = terms_of(request, body, now)
    admin_pauses.pause_service(user_of(request), terms, now)
    return paused(None, terms)


@router.post("/service/resume", response={200: schemas.Resumed, **ERRORS}, summary="Resume the whole service")
def resume_service(request: HttpRequest) -> dict[str, Any]:
    """Schedules that are paused themselves remain so."""
    _require_pause(request)
    now = clock.now()
    admin_pauses.resume_service(user_of(request), now)
    return resumed(None, now)


@router.get("/token", response={200: schemas.Me, **ERRORS}, summary="Show the token")
def show_token(request: HttpRequest) -> dict[str, Any]:
    """What the request was made with."""
    token = token_of(request)
    return {
        "token": token.name if token else "",
        "owner": user_of(request).get_username(),
        "scope": token.scope if token else "",
        "expires_at": token.expires_at if token else None,
    }


def _require_pause(request: HttpRequest) -> None:
    require(rights.may_pause(user_of(request)), "pause and resume the service")
