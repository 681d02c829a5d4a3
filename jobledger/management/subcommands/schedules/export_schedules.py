"""``jobledger export_schedules``: writes all schedules to a file, from which they can be imported."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django_celery_beat.models import PeriodicTask

from jobledger.management import printing
from jobledger.management.operator_command import OperatorCommand
from jobledger.management.schedule_files import FORMATS, STDIN, format_of
from jobledger.schedules.documents import NotRepresentableError, all_documents, calendar_documents
from jobledger.schedules.documents.files import file_text
from jobledger.schedules.documents.yaml_texts import MissingLibraryError


class Command(OperatorCommand):
    """Prints on stderr how many schedules were exported, and those that could not be."""

    help = (
        "Write all schedules and calendars to a file. It includes their policies and alert rules, sorted by "
        "name; the same schedules always make the same file. Secrets are masked; import_schedules keeps "
        "those that are stored."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", nargs="?", default=STDIN, help="Default: -, for stdout.")
        parser.add_argument(
            "--format", choices=FORMATS, help="Default: by the name of the file; otherwise, yaml."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        file = options["file"]
        documents, omitted = {}, 0
        for name, found in all_documents(PeriodicTask.objects.all()):
            if isinstance(found, NotRepresentableError):
                omitted += 1
                self.warn(f"“{name}” is not exported: {found}")
            else:
                documents[name] = found
        try:
            kind = options["format"] or format_of(file)
            text = file_text(documents, kind, calendars=calendar_documents())
        except MissingLibraryError as error:
            raise CommandError(str(error)) from error
        self._write(file, text)
        self.remark(f"Exported {len(documents)} schedule{'' if len(documents) == 1 else 's'}.")
        if omitted:
            raise CommandError("Not all schedules were exported.")

    def _write(self, file: str, text: str) -> None:
        if file == STDIN:
            printing.write_exactly(self.stdout, text)
            return
        try:
            Path(file).write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}") from error
