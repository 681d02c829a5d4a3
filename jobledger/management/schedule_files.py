"""What the export and the import of schedules have in common."""

from jobledger.schedules.documents.files import JSON, YAML

FORMATS = (YAML, JSON)
STDIN = "-"
"""Also stdout."""


def format_of(file: str, text: str = "") -> str:
    """By the name of the file; on stdin, by its first character."""
    if file.lower().endswith(".json"):
        return JSON
    return JSON if file == STDIN and text.lstrip().startswith("{") else YAML
