"""A plain command of Django's kind ``LabelCommand``."""

from typing import Any

from django.core.management.base import LabelCommand


class Command(LabelCommand):
    help = "Print each label."
    label = "parcel"

    def handle_label(self, label: str, **options: Any) -> str:
        return f"label {label}"
