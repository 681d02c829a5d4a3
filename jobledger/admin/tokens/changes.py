"""Tokens of the API: making, recognizing and revoking them.

A token is ``jl_<key>_<secret>``: its row is found by the key, and the hash of the whole is compared in
constant time. The secret has 256 random bits, so that a hash without salt cannot be reversed.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.crypto import constant_time_compare

from jobledger import clock
from jobledger.admin import audit_log, rights
from jobledger.admin.rights import User
from jobledger.conf import settings
from jobledger.jobs.json_text import storable
from jobledger.jobs.options import validate_options
from jobledger.jobs.options.errors import OptionsError
from jobledger.jobs.registry import Job
from jobledger.jobs.secrets import without_secrets
from jobledger.models import ApiToken, Scope

DEFAULT_LIFETIME = timedelta(days=90)
_FORMAT = re.compile(r"jl_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, kw_only=True)
class NewToken:
    """A token, and its text, which cannot be had again."""

    token: ApiToken
    text: str


def max_lifetime() -> timedelta:
    return timedelta(days=settings.API_TOKEN_MAX_DAYS)


def default_lifetime() -> timedelta:
    return min(DEFAULT_LIFETIME, max_lifetime())


@transaction.atomic
def create(
    owner: Any,
    *,
    author: User | str,
    name: str,
    scope: Scope,
    lifetime: timedelta,
    job: Job | None = None,
    options: Mapping[str, Any] | None = None,
) -> NewToken:
    """Make a token, and log that. Raises ValidationError. ``job`` is the one of a token that starts a job.

    Without ``options``, the request has them.
    """
    now = clock.now()
    key = secrets.token_hex(6)
    text = f"jl_{key}_{secrets.token_urlsafe(32)}"
    token = ApiToken(
        name=name,
        owner=owner,
        key=key,
        digest=_digest(text),
        scope=scope,
        job=job.name if job else "",
        options=None if options is None else storable(dict(options)),
        created_at=now,
        expires_at=now + lifetime,
    )
    _check(token, lifetime, job)
    token.full_clean()
    try:
        with transaction.atomic():
            token.save(force_insert=True)
    except IntegrityError:
        # Another one may have been given the name since.
        token.full_clean()
        raise
    details = {"Owner": owner.get_username(), "Scope": token.get_scope_display(), "Job": token.job}
    details["Expires"] = token.expires_at.isoformat(timespec="seconds")
    changes = audit_log.differences({}, details)
    audit_log.log_edit(author, token, changes, verb=audit_log.ADDED)
    return NewToken(token=token, text=text)


def recognized(text: str, now: datetime) -> ApiToken | None:
    """The token with this text, with its owner, if both may still be used."""
    if not (found := _FORMAT.fullmatch(text)):
        return None
    token = ApiToken.objects.select_related("owner").filter(key=found[1]).first()
    is_same = constant_time_compare(_digest(text), token.digest if token else "")
    return token if token and is_same and token.is_usable(now) and may_use_admin(token.owner) else None


def may_use_admin(user: Any) -> bool:
    """Whether the user may log in to the admin: nobody who may not can do anything with a token."""
    return bool(user.is_active and getattr(user, "is_staff", False))


@transaction.atomic
def revoke(token: ApiToken, *, author: User | str) -> bool:
    """Let it never be accepted again; returns False if it was already revoked."""
    is_revoked = ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=clock.now()) == 1
    if is_revoked:
        audit_log.log_action(author, [token], "Revoked.")
    return is_revoked


def _check(token: ApiToken, lifetime: timedelta, job: Job | None) -> None:
    if lifetime <= timedelta(0):
        raise ValidationError("A token must be valid for longer than 0 seconds.")
    if lifetime > max_lifetime():
        days = f"{settings.API_TOKEN_MAX_DAYS:g}"
        raise ValidationError(f"A token must expire within {days} days (API_TOKEN_MAX_DAYS).")
    if not may_use_admin(token.owner):
        raise ValidationError(f"{token.owner.get_username()} may not log in to the admin.")
    if (token.scope == Scope.START) != (job is not None):
        raise ValidationError("A token starts one job if, and only if, its scope says so.")
    if job is None:
        return
    if not rights.may_start(token.owner, job.name):
        raise ValidationError(f"{token.owner.get_username()} may not start {job.name}.")
    if token.options is not None:
        _check_options(job, token.options)


def _check_options(job: Job, options: Mapping[str, Any]) -> None:
    try:
        validate_options(job.create_validating_parser(), options)
    except OptionsError as error:
        raise ValidationError(without_secrets(job.name, options, str(error))) from error


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
