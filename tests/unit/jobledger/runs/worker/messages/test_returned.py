"""Messages for unknown tasks are returned a few times; the bookkeeping is bounded."""

from jobledger.runs.worker.messages import returned
from jobledger.runs.worker.messages.returned import Returns


def test_each_message_is_returned_a_few_times() -> None:
    returns = Returns()
    for task_id in "a", "b":
        held = [returns.hold(task_id) for _ in range(returned.MAX_RETURNS + 1)]
        assert held == [*[True] * returned.MAX_RETURNS, False]


def test_a_message_that_comes_again_long_after_its_dead_letter_is_returned_again() -> None:
    returns = Returns()
    while returns.hold("a"):
        pass
    assert returns.hold("a")
    assert returns.is_first("a")


def test_no_more_messages_are_held_than_the_limit_until_one_is_released() -> None:
    returns = Returns()
    assert all(returns.hold(str(number)) for number in range(returned.MAX_HELD))
    assert not returns.hold("one more")
    returns.release()
    assert returns.hold("one more")


def test_a_lost_connection_releases_all() -> None:
    returns = Returns()
    assert all(returns.hold(str(number)) for number in range(returned.MAX_HELD))
    returns.release_all()
    assert returns.hold("one more")


def test_only_the_newest_messages_are_counted() -> None:
    returns = Returns()
    for number in range(returned.MAX_COUNTED + 1):
        returns.hold(str(number))
        returns.release()
    returns.hold("0")
    assert returns.is_first("0")
