"""The sample domain in the admin: plain lists that stay fast with many rows."""

from django.contrib import admin
from django.contrib.auth import get_user_model

from jobledger.admin.filters import ShownFiltersOnly
from tasks_app.models import AuthToken, DailyStat, Order, Tag, UserStat

USER_SEARCH = (
    f"user__{get_user_model().USERNAME_FIELD}",
    f"user__{get_user_model().get_email_field_name()}",
)


class FastListAdmin(ShownFiltersOnly):
    """A list that counts no more than it has to; users are found by a window, not in one long menu."""

    show_full_result_count = False
    list_per_page = 50
    raw_id_fields = ("user",)
    list_select_related = ("user",)


@admin.register(AuthToken)
class AuthTokenAdmin(FastListAdmin):
    """Tokens, by the beginning of the key: nobody needs to read a whole key here."""

    list_display = ("beginning", "user", "created_at")
    list_filter = ("created_at",)
    search_fields = ("key__exact", *USER_SEARCH)
    ordering = ("-created_at",)
    fields = ("beginning", "user", "created_at")
    readonly_fields = ("beginning",)

    @admin.display(description="key")
    def beginning(self, token: AuthToken) -> str:
        """The key, of no use to who reads it."""
        return str(token)


@admin.register(Tag)
class TagAdmin(ShownFiltersOnly):
    """Tags; there are few."""

    search_fields = ("name",)
    ordering = ("name",)


@admin.register(Order)
class OrderAdmin(FastListAdmin):
    """Orders, newest first."""

    list_display = ("__str__", "user", "created_at", "total")
    list_filter = ("created_at", "tags")
    search_fields = ("=id", *USER_SEARCH)
    ordering = ("-created_at",)
    autocomplete_fields = ("tags",)


@admin.register(DailyStat)
class DailyStatAdmin(ShownFiltersOnly):
    """A row a day: few enough to walk through by month."""

    list_display = ("date", "order_count", "order_sum", "computed_at")
    date_hierarchy = "date"
    ordering = ("-date",)
    readonly_fields = ("computed_at",)


@admin.register(UserStat)
class UserStatAdmin(FastListAdmin):
    """What ``compute_stats`` found, latest first."""

    list_display = ("user", "since", "tags", "order_count", "order_sum", "computed_at")
    search_fields = USER_SEARCH
    ordering = ("-computed_at",)
    readonly_fields = ("computed_at",)
