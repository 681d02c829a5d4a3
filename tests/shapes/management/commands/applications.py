"""A plain command of Django's kind ``AppCommand``."""

from typing import Any

from django.apps import AppConfig
from django.core.management.base import AppCommand


class Command(AppCommand):
    help = "Print the verbose name of each app."

    def handle_app_config(self, app_config: AppConfig, **options: Any) -> str:
        return str(app_config.verbose_name)
