"""The sample domain in the admin: plain lists that remain fast with many rows."""

from django.contrib import admin
from django.contrib.auth import get_user_model

from jobledger.admin.filters import ShownFiltersOnly
from tasks_app.models import AuthToken, DailyStat, Order, Tag, UserStat

USER_SEARCH = (
    f"user__{get_user_model().USERNAME_FIELD}",
    f"user__{get_user_model().get_email_field_name()}",
)


class FastListAdmin(ShownFiltersOnly):
    """A list without expensive counts, and with a lookup window for users instead of a long menu."""

    show_full_result_count = False
    list_per_page = 50
    raw_id_fields = ("user",)
    list_select_related = ("user",)


@admin.register(AuthToken)
class AuthTokenAdmin(FastListAdmin):
    """Shows only a part of a token's key, because nobody needs to read a whole key here."""

    list_display = ("part_of_key", "user", "created_at")
    list_filter = ("created_at",)
    search_fields = ("key__exact", *USER_SEARCH)
    ordering = ("-created_at",)
    fields = ("part_of_key", "user", "created_at")
    readonly_fields = ("part_of_key",)

    @admin.display(description="key")
    def part_of_key(self, token: AuthToken) -> str:
        return str(token)


@admin.register(Tag)
class TagAdmin(ShownFiltersOnly):
    """Tags, of which there are few."""

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
    """One row per day, few enough for navigation by month."""

    list_display = ("date", "order_count", "order_sum", "computed_at")
    date_hierarchy = "date"
    ordering = ("-date",)
    readonly_fields = ("computed_at",)


@admin.register(UserStat)
class UserStatAdmin(FastListAdmin):
    """The results of ``compute_stats``, latest first."""

    list_display = ("user", "since", "tags", "order_count", "order_sum", "computed_at")
    search_fields = USER_SEARCH
    ordering = ("-computed_at",)
    readonly_fields = ("computed_at",)
