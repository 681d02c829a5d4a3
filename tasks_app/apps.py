"""The place for your jobs: commands, and the models they work on."""

from django.apps import AppConfig


class TasksAppConfig(AppConfig):
    """The sample domain; a team replaces it with its own."""

    name = "tasks_app"
    verbose_name = "Sample data"
