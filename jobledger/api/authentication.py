"""Who sends a request: the owner of its token, with the owner's permissions at this time."""

import hashlib
import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid5

from django.http import HttpRequest
from ninja.security import HttpBearer

from jobledger import clock
from jobledger.admin.rights import User
from jobledger.admin.tokens import changes as tokens
from jobledger.api import limits
from jobledger.api.problems import ProblemError
from jobledger.models import ApiToken, Scope
from jobledger.runs.dispatch import Once

READING = ("GET", "HEAD", "OPTIONS")
_RUN_IDS = UUID("8b2b1a38-2f2c-4c1b-8d7f-9f5b8f1f6a10")
MAX_KEY_LENGTH = 255


class Token(HttpBearer):
    """``Authorization: Bearer …``. Sessions are not accepted."""

    def __call__(self, request: HttpRequest) -> ApiToken:
        return self.authenticate(request, sent_token(request))

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken:
        """The token; the request's user is its owner. Raises ProblemError."""
        found = identified(request, token)
        if found.scope == Scope.START:
            detail = f"This token can do nothing but start {found.job}, with POST /start."
            raise ProblemError(HTTPStatus.FORBIDDEN, detail)
        if found.scope == Scope.READ and request.method not in READING:
            raise ProblemError(HTTPStatus.FORBIDDEN, "This token is for reading only; use one that is not.")
        if found.scope not in Scope.values:
            detail = f"This version does not know this token's scope, {found.scope!r}; make another token."
            raise ProblemError(HTTPStatus.FORBIDDEN, detail)
        return found


def sent_token(request: HttpRequest) -> str:
    """The token in the request's header. Raises ProblemError."""
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != Token.openapi_scheme:
        raise _unauthorized("a token is required, as the header “Authorization: Bearer …”")
    return text.strip()


def identified(request: HttpRequest, text: str) -> ApiToken:
    """The token with this text, whose owner becomes the request's user. Raises ProblemError."""
    token = tokens.recognized(text, clock.now())
    if token is None:
        why = "the token is not valid: it is unknown, expired or revoked, or its owner may not use the admin"
        raise _unauthorized(why)
    limits.check_token(token)
    request.user = token.owner
    vars(request)["auth"] = token
    return token


def token_of(request: HttpRequest) -> ApiToken | None:
    """The token that the request was made with."""
    token: Any = getattr(request, "auth", None)
    return token if isinstance(token, ApiToken) else None


def user_of(request: HttpRequest) -> User:
    """The owner of the request's token."""
    return request.user


def require(is_allowed: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise ProblemError unless it is allowed."""
    if not is_allowed:
        raise ProblemError(HTTPStatus.FORBIDDEN, f"The token's owner may not {what}.")


def once(request: HttpRequest, key: str | None, what: Sequence[Any]) -> Once | None:
    """For the run that is started by all requests with the token and this idempotency key.

    ``what`` they start, as JSON, tells one from another.
    """
    token = token_of(request)
    if not key or token is None:
        return None
    if len(key) > MAX_KEY_LENGTH:
        detail = f"The header Idempotency-Key has more than {MAX_KEY_LENGTH} characters."
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail)
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return Once(run_id=uuid5(_RUN_IDS, f"{token.key} {key}"), request_digest=digest)


def _unauthorized(why: str) -> ProblemError:
    headers = {"WWW-Authenticate": 'Bearer realm="jobledger"'}
    return ProblemError(HTTPStatus.UNAUTHORIZED, f"Not authenticated: {why}.", headers=headers)
