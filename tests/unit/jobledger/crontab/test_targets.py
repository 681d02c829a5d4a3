"""What a line starts, and the setting that it would need."""

import pytest

from jobledger.crontab.targets import NotListedError, shell_target
from jobledger.crontab.wrappers import NotUnderstoodError


def setting_for(command: str) -> str:
    with pytest.raises(NotListedError) as raised:
        shell_target(command, NotUnderstoodError("it is no call"))
    return str(raised.value.setting)


def test_a_command_without_secrets_can_be_pasted_into_the_settings() -> None:
    assert setting_for("backup -v") == 'JOBLEDGER["SHELL_COMMANDS"]: "backup": "backup -v"'


def test_a_command_with_a_secret_says_that_it_is_not_whole() -> None:
    assert setting_for("backup --password=hunter2222") == (
        'JOBLEDGER["SHELL_COMMANDS"]: "backup": "backup --password=********"  '
        "# the line has a secret in place of ********; better use a script"
    )
