"""Dead letters in the admin: why messages could not be processed.

Their contents may include secrets, so only superusers see them; users who may view runs see everything else.
Dead letters are read-only, and can be deleted once they have been dealt with.
"""

from typing import Any

from django.http import HttpRequest

from jobledger.admin import rights
from jobledger.admin.filters import ShownFiltersOnly
from jobledger.models import DeadLetter

_PUBLIC_FIELDS = ("received_at", "reason", "queue", "task", "task_id", "size", "worker")


class DeadLetterAdmin(ShownFiltersOnly):
    list_display = ("received_at", "reason", "queue", "task", "size", "worker")
    list_per_page = 50
    show_full_result_count = False

    def get_fields(self, request: HttpRequest, obj: DeadLetter | None = None) -> Any:
        return (
            (*_PUBLIC_FIELDS, "content") if getattr(request.user, "is_superuser", False) else _PUBLIC_FIELDS
        )

    def has_module_permission(self, request: HttpRequest) -> bool:
        return rights.may_view(request.user)

    def has_view_permission(self, request: HttpRequest, obj: DeadLetter | None = None) -> bool:
        return rights.may_view(request.user)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: DeadLetter | None = None) -> bool:
        return False
