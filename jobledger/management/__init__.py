"""``manage.py`` of a project, which calls this module's ``execute_from_command_line`` instead of Django's.

Exposed commands then leave a run when they are called from the command line, and ``jobledger wrap`` starts
its command line before Django is imported, and so also without valid settings.
"""

import sys
from collections.abc import Sequence


def execute_from_command_line(argv: Sequence[str] | None = None) -> None:
    """Do what Django's function of this name does, and the above."""
    if is_wrap(sys.argv if argv is None else argv):
        from jobledger.wrap import relay
        from jobledger.wrap.set_up import record

        relay.run((sys.argv if argv is None else argv)[3:], record)
    from jobledger.management import command_line

    command_line.execute(argv)


def is_wrap(argv: Sequence[str]) -> bool:
    """Whether this is a call of ``jobledger wrap``, which must not wait for Django."""
    return list(argv[1:3]) == ["jobledger", "wrap"] and not {"-h", "--help"}.intersection(argv[3:4])
