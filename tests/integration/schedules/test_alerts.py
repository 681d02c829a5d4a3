"""Alerts and pings from real beats: nobody is told twice, and no receiver holds up a beat or a job."""

import json

import pytest

from tests.integration.database import rows
from tests.integration.schedules.beats import newer_slot, settled, this_second
from tests.integration.service import Service
from tests.integration.slots import (
    SECOND,
    Span,
    longest_lateness,
    perfect,
    schedule_every_second,
)
from tests.ports import free_port
from tests.receivers import Received, mail_server, silent_server, web_server
from tests.waiting import wait_until

# The alerts of a message are sent a moment later, and the next one a second after it.
IMPATIENT = {"ALERT_WAIT_SECONDS": "0.5", "ALERT_INTERVAL_SECONDS": "1"}
# A beat that waited for the receiver that hangs would be late by READ_SECONDS, which are 30. Less late is one
# on a machine that is busy.
MAX_LATENESS = 15 * SECOND

SET_UP = """
import json
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from jobledger.models import AlertDestination, AlertRule, SchedulePolicy
rule = AlertRule.objects.create(name="every failure", every_failure=True)
AlertRule.objects.create(name="nothing else", job="trace", kinds=[])
for name, url in {urls!r}.items():
    rule.destinations.add(AlertDestination.objects.create(name=name, kind="url", url=url))
mail = AlertDestination.objects.create(name="mail", kind="mail", addresses="ann@example.com")
rule.destinations.add(mail)
second, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
same = {{"interval": second, "start_time": timezone.now().replace(microsecond=0)}}
failing = PeriodicTask.objects.create(
    name="failing", task="probes.probe", kwargs=json.dumps({{"crash": "on purpose"}}), **same
)
SchedulePolicy.objects.filter(schedule=failing).update(ping_url={monitor!r})
"""
STATES = "SELECT state, count(*) FROM jobledger_alertdelivery WHERE destination_name = ? GROUP BY state"
SWITCH_OFF = "UPDATE jobledger_alertrule SET enabled = ?"


def states(running: Service, destination: str) -> dict[str, int]:
    return dict(rows(running, STATES, destination))


def alerts_in(body: str) -> int:
    """How many alerts a message was about."""
    count, _, rest = str(json.loads(body)["title"]).partition(" alerts: ")
    return int(count.replace(",", "")) if rest else 1


def alert_messages(hook: Received) -> list[str]:
    return [body for path, body in hook.requests if path == "/hook"]


@pytest.mark.every_database
def test_each_failure_is_told_once_whatever_the_receivers_do_and_no_beat_waits(running: Service) -> None:
    with web_server() as hook, mail_server() as mail, silent_server() as hangs:
        urls = {
            "hook": f"json://127.0.0.1:{hook.port}/hook",
            "slow": f"json://127.0.0.1:{hangs}/",
            "dead": f"json://127.0.0.1:{free_port()}/",
        }
        variables = {
            **IMPATIENT,
            "EMAIL_URL": f"smtp://127.0.0.1:{mail.port}",
            "BEAT_PING_URL": f"http://127.0.0.1:{hook.port}/beat",
            "PING_NETWORKS": "127.0.0.0/8",
        }
        running.shell(SET_UP.format(urls=urls, monitor=f"http://127.0.0.1:{hook.port}/run"))
        try:
            schedule_every_second(running, "beside alerts")
            running.start_beat("beat-alerts", **variables)
            running.start_beat("beat-alerts-too", **variables)
            wait_until(lambda: len(alert_messages(hook)) >= 2, what="two messages arrive")
            wait_until(lambda: mail.mails, what="a mail arrives")
            since = this_second() + SECOND
            running.stop("beat-alerts-too")
            wait_until(lambda: len(alert_messages(hook)) >= 3, what="another message arrives")
            until = wait_until(
                lambda: newer_slot(running, "beside alerts", since), what="later runs have succeeded"
            )
            span = Span(since=since, until=until)
            figures, lateness = (
                settled(running, "beside alerts", span),
                longest_lateness(running, "beside alerts", span),
            )
            assert figures == perfect(len(span))
            assert lateness < MAX_LATENESS
        finally:
            rows(running, SWITCH_OFF, False)
        running.stop("beat-alerts")
        told, alerts = alert_messages(hook), states(running, "hook")
        # What a beat was sending as it stopped may have arrived, or not.
        uncertain = alerts.get("sending", 0) + alerts.get("unknown", 0)
        assert alerts["delivered"] <= sum(map(alerts_in, told)) <= alerts["delivered"] + uncertain
        assert not {"delivered"} & {*states(running, "dead"), *states(running, "slow")}
        assert "/beat" in hook.paths
        pings = [path for path in hook.paths if path.startswith("/run")]
        assert len(set(pings)) == len(pings)
        assert any(path.startswith("/run/start?rid=") for path in pings)
        assert any(path.startswith("/run/1?rid=") for path in pings)
