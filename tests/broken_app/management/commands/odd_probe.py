"""A command that is not a class."""

Command = object()
