"""What the package uses of contextlib's private parts is what they promise."""

import io
from contextlib import redirect_stderr, redirect_stdout

from jobledger.runs.output.contextlib_internals import target_of


def test_the_target_is_what_was_given_to_the_redirection() -> None:
    target = io.StringIO()
    assert target_of(redirect_stdout(target)) is target
    assert target_of(redirect_stderr(None)) is None
