"""Tokens for the HTTP API, and how often they, and the addresses of clients, were used lately."""

from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone

from jobledger.models.json_fields import ObjectField

WINDOW = timedelta(minutes=1)
"""In which requests are counted."""


class Scope(models.TextChoices):
    """What a token may be used for. It never allows more than its owner may do."""

    FULL = "full", "everything that its owner may do"
    READ = "read", "reading only"
    START = "start", "starting one job"


class CountedQuerySet(models.QuerySet[Any]):
    """Rows that count requests."""

    def count_request(self, pk: Any, limit: int, now: datetime, **changes: Any) -> bool:
        """Count a request in the current minute; False, without counting it, if the limit is reached."""
        begin = now.replace(second=0, microsecond=0)
        is_full = Q(counted_since=begin, requests__gte=limit)
        requests = Case(When(counted_since=begin, then=F("requests") + 1), default=Value(1))
        counted = self.filter(~is_full, pk=pk).update(requests=requests, counted_since=begin, **changes)
        return counted == 1


class Counted(models.Model):
    """Counts requests in the current minute, in one statement, whatever other processes do."""

    counted_since = models.DateTimeField(default=timezone.now, editable=False)
    requests = models.PositiveIntegerField(default=0, editable=False)

    class Meta:
        abstract = True


class ApiTokenQuerySet(CountedQuerySet):
    def usable(self, now: datetime) -> Self:
        """Those that have neither expired nor been revoked."""
        return self.filter(revoked_at=None, expires_at__gt=now)


class ApiToken(Counted):
    """A secret that a program sends instead of a user's password. Only its hash is stored."""

    name = models.CharField(max_length=100, help_text="What uses it, such as ci.")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=16, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scope = models.CharField(max_length=8, choices=Scope, default=Scope.READ)
    job = models.CharField(max_length=200, blank=True, help_text="The only job that it starts.")
    options = ObjectField(
        null=True, blank=True, encoder=DjangoJSONEncoder, help_text="Null: the request has them."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, editable=False)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        verbose_name = "API token"
        verbose_name_plural = "API tokens"
        default_permissions = ("add", "view")
        permissions = (("revoke_apitoken", "Can revoke the API tokens of others"),)
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["owner", "name"],
                condition=Q(revoked_at=None),
                name="one_token_per_name",
                violation_error_message="There is a token with this name already.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    def is_usable(self, now: datetime) -> bool:
        """Whether it has neither expired nor been revoked."""
        return self.revoked_at is None and self.expires_at > now


class ApiClient(Counted):
    """The address of clients of the API."""

    address = models.CharField(max_length=64, primary_key=True)

    objects = CountedQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["counted_since"], name="api_client_by_time")
        ]

    def __str__(self) -> str:
        return self.address
