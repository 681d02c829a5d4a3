"""A lease runs only while heartbeats could be seen."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from jobledger.runs.lease.watch import Watch
from tests.unit.builders import NOON

LEASE = timedelta(seconds=60)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def check(watch: Watch, seconds: Iterable[float]) -> list[float]:
    """Check at each of these times; returns since when a whole lease has been seen each time."""
    return [(watch.look(after(each), LEASE) - NOON).total_seconds() for each in seconds]


def test_without_blackouts_a_lease_goes_back_sixty_seconds() -> None:
    assert check(Watch(NOON), range(1, 200)) == [second - 60 for second in range(1, 200)]


def test_a_slow_tick_is_not_a_blackout() -> None:
    assert check(Watch(NOON), [1, 16, 17]) == [-59, -44, -43]


def test_a_blackout_does_not_count_towards_a_lease() -> None:
    watch = Watch(NOON)
    check(watch, range(1, 101))
    # A blackout from 100 to 1000: 30 seconds were seen after it, and 30 before.
    assert check(watch, range(1000, 1031))[-1] == 70


def test_a_blackout_is_forgotten_after_a_whole_lease() -> None:
    watch = Watch(NOON)
    check(watch, [100, *range(1000, 1062)])
    assert check(watch, [1062, 1063]) == [1002, 1003]
    assert watch._blackouts == []


def test_several_blackouts_add_up() -> None:
    watch = Watch(NOON)
    seen = [*range(1, 41), *range(100, 111), *range(200, 211)]
    # Ten seconds were seen after the second blackout, ten between the two, and forty before the first.
    assert check(watch, seen)[-1] == 0


def test_a_lost_run_is_found_even_if_the_database_is_unavailable_most_of_the_time() -> None:
    watch = Watch(NOON)
    seen = [minute * 60 + second for minute in range(20) for second in range(10)]
    # Ten seconds of each minute are seen, so a lease takes six minutes.
    assert check(watch, seen)[-1] > 12 * 60


def test_setting_the_clock_forward_ends_no_lease() -> None:
    watch = Watch(NOON)
    check(watch, range(1, 101))
    assert check(watch, [3700]) == [40]


def test_setting_the_clock_back_is_harmless() -> None:
    watch = Watch(NOON)
    check(watch, [1, 3600])
    assert check(watch, [2, 3]) == [-58, -57]
