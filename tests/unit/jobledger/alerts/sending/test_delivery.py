"""Alerts are delivered once to each destination, grouped and retried, also when processes compete."""

import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
import time_machine
from django.utils import timezone
from pytest_django import Settings

from jobledger.alerts.sending import delivery, destinations, message
from jobledger.alerts.sending.background import Senders
from jobledger.alerts.sending.destinations import NotDeliveredError
from jobledger.alerts.sending.message import Message
from jobledger.models import (
    AlertDelivery,
    AlertDestination,
    DeliveryState,
    DestinationKind,
    ProcessKind,
    ServiceProcess,
)
from jobledger.runs.identity import IDENTITY
from jobledger.runs.service.presence import ABSENT_AFTER
from tests.ports import free_port
from tests.receivers import Received, mail_server, silent_server, web_server
from tests.unit.builders import NOON, override
from tests.unit.jobledger.alerts.builders import LOST, destination, end, fail, rule, succeed
from tests.unit.side_by_side import side_by_side
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture
def smtp(settings: Settings) -> Iterator[Received]:
    with mail_server() as received:
        use_mail_server(settings, received.port)
        yield received


def use_mail_server(settings: Settings, port: int) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port


def url(port: int, path: str = "s3cretpath") -> AlertDestination:
    return destination("hook", kind=DestinationKind.URL, url=f"json://127.0.0.1:{port}/{path}")


def deliver_all() -> int:
    """Send whatever is ready now; returns how many messages were accepted."""
    return sum(delivery.deliver(pk) for pk in delivery.ready_destinations(timezone.now()))


def states() -> list[str]:
    return list(AlertDelivery.objects.order_by("pk").values_list("state", flat=True))


def test_a_failure_arrives_by_mail(clock: time_machine.Traveller, smtp: Received, settings: Settings) -> None:
    settings.EMAIL_SUBJECT_PREFIX = "[jobs] "
    rule(destination(addresses="ann@example.com,\nbob@example.com"))
    fail(schedule_name="nightly")
    clock.shift(30)
    assert deliver_all() == 1
    mail = smtp.mails[0]
    assert mail["Subject"] == "[jobs] nightly failed: RuntimeError: boom"
    assert mail["To"] == "ann@example.com, bob@example.com"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert states() == [DeliveryState.DELIVERED]


def test_a_failure_arrives_at_a_url(clock: time_machine.Traveller) -> None:
    with web_server() as server:
        rule(url(server.port))
        fail()
        clock.shift(30)
        assert deliver_all() == 1
    path, body = server.requests[0]
    assert path == "/s3cretpath"
    assert "probe failed: RuntimeError: boom" in body


@pytest.mark.parametrize(("addition", "is_accepted"), [("", False), ("?redirect=yes", True)])
def test_a_redirect_is_no_delivery_unless_the_url_says_so(
    clock: time_machine.Traveller, addition: str, is_accepted: bool
) -> None:
    with web_server(statuses={"/hook": 302}, location="/login") as server:
        to = url(server.port, f"hook{addition}")
        rule(to)
        fail()
        clock.shift(30)
        assert deliver_all() == is_accepted
    to.refresh_from_db()
    assert ("302" in to.error) != is_accepted


def test_an_alert_waits_for_others_like_it(clock: time_machine.Traveller, smtp: Received) -> None:
    rule(destination())
    fail()
    clock.shift(29)
    assert deliver_all() == 0
    fail(job="lasting")
    clock.shift(1)
    assert deliver_all() == 1
    assert states() == ["delivered", "delivered"]
    assert "2 alerts: 2 failed" in smtp.mails[0]["Subject"]


def test_a_thousand_lost_runs_are_one_message(clock: time_machine.Traveller, smtp: Received) -> None:
    rule(destination(), every_failure=True)
    for _ in range(100):
        end(LOST)
        clock.shift(0.25)
    clock.shift(30)
    assert deliver_all() == 1
    assert len(smtp.mails) == 1
    assert "100 alerts: probe: 100 lost" in smtp.mails[0]["Subject"]
    assert "and 80 more" in smtp.mails[0].get_payload()


def test_after_a_message_the_next_one_waits(clock: time_machine.Traveller, smtp: Received) -> None:
    rule(destination())
    fail()
    clock.shift(30)
    deliver_all()
    succeed()
    clock.shift(299)
    assert deliver_all() == 0
    clock.shift(1)
    assert deliver_all() == 1
    assert len(smtp.mails) == 2


def test_nothing_is_sent_twice(clock: time_machine.Traveller, smtp: Received) -> None:
    rule(destination())
    fail()
    for _ in range(20):
        clock.shift(600)
        deliver_all()
        delivery.tidy(timezone.now())
    assert len(smtp.mails) == 1


def test_a_digest_is_not_sent_before_its_time(clock: time_machine.Traveller, smtp: Received) -> None:
    rule(destination(), frequency="daily")
    fail()
    fail(job="lasting")
    clock.move_to(NOON.replace(hour=23))
    assert deliver_all() == 0
    clock.move_to(NOON.replace(hour=8) + timedelta(days=1))
    assert deliver_all() == 1


# --- Receivers that do not work


def test_a_dead_server_is_tried_again_after_a_growing_time(
    clock: time_machine.Traveller, settings: Settings
) -> None:
    use_mail_server(settings, free_port())
    to = destination()
    rule(to)
    fail()
    waits = []
    for _ in range(8):
        clock.shift(3600)
        assert deliver_all() == 0
        to.refresh_from_db()
        assert to.not_before is not None
        waits.append((to.not_before - timezone.now()).total_seconds() / 60)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    assert to.error.startswith("ConnectionRefusedError")
    assert states() == ["waiting"]
    row = AlertDelivery.objects.get()
    assert (row.attempts, row.error) == (8, to.error)


def test_what_a_dead_server_did_not_get_arrives_when_it_is_back(
    clock: time_machine.Traveller, settings: Settings
) -> None:
    use_mail_server(settings, free_port())
    to = destination()
    rule(to)
    fail()
    clock.shift(30)
    deliver_all()
    with mail_server() as received:
        use_mail_server(settings, received.port)
        clock.shift(60)
        assert deliver_all() == 1
    assert len(received.mails) == 1
    to.refresh_from_db()
    assert (to.failures, to.error, states()) == (0, "", ["delivered"])


def test_what_is_not_delivered_by_its_deadline_is_given_up(
    clock: time_machine.Traveller, settings: Settings
) -> None:
    use_mail_server(settings, free_port())
    rule(destination())
    fail()
    clock.shift(30)
    deliver_all()
    clock.shift(24 * 3600 - 1)
    delivery.tidy(timezone.now())
    assert states() == ["waiting"]
    clock.shift(1)
    delivery.tidy(timezone.now())
    assert states() == ["failed"]


def test_what_was_never_tried_is_not_given_up(clock: time_machine.Traveller, smtp: Received) -> None:
    """Beat may have been down for days."""
    rule(destination())
    fail()
    clock.shift(timedelta(days=7))
    delivery.tidy(timezone.now())
    assert deliver_all() == 1


def test_what_is_for_a_disabled_destination_is_not_sent(
    clock: time_machine.Traveller, smtp: Received
) -> None:
    to = destination()
    rule(to)
    fail()
    AlertDestination.objects.update(enabled=False)
    clock.shift(timedelta(days=2))
    assert deliver_all() == 0
    delivery.tidy(timezone.now())
    assert states() == ["failed"]


@pytest.mark.parametrize("destination_id", [None, 10_000])
def test_what_is_for_a_deleted_destination_is_given_up(
    clock: time_machine.Traveller, destination_id: int | None
) -> None:
    """Also if it was deleted while the alert was being recorded, so that its id is still there."""
    rule(destination())
    fail()
    AlertDelivery.objects.update(destination=destination_id)
    clock.shift(timedelta(days=2))
    delivery.tidy(timezone.now())
    assert states() == ["failed"]


def test_a_mail_that_is_refused_is_tried_again(clock: time_machine.Traveller, settings: Settings) -> None:
    with mail_server(refusal="451 try later") as received:
        use_mail_server(settings, received.port)
        rule(destination())
        fail()
        clock.shift(30)
        assert deliver_all() == 0
    assert "try later" in AlertDelivery.objects.get().error


def test_a_url_that_answers_with_an_error_is_tried_again_and_no_error_quotes_it(
    clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with web_server(status=503) as server:
        rule(url(server.port))
        fail()
        clock.shift(30)
        assert deliver_all() == 0
    row = AlertDelivery.objects.get()
    assert "503" in row.error
    assert "s3cretpath" not in row.error + log_of(caplog, "apprise")
    assert states() == ["waiting"]


# --- What services accept

TELEGRAM = "tgram://123456789:abcdefghijklmnopqrstuvwxyz012345678/12315544/"
DISCORD = f"discord://{'1' * 18}/{'a' * 68}/"
TRACEBACK = '  File "<stdin>", line 1, in <module>\n    <script>alert(1)</script> & a * b * c\n'


def sent_to(service: str, port: int, text: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sends it to the service as if it were on this machine."""
    for plugin in ("telegram.NotifyTelegram", "discord.NotifyDiscord"):
        monkeypatch.setattr(f"apprise.plugins.{plugin}.notify_url", f"http://127.0.0.1:{port}/bot")
    destinations.send(AlertDestination(kind=DestinationKind.URL, url=service), text, uuid4())


def test_services_that_expect_html_get_the_text_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    text = Message(subject="a <b>", body=TRACEBACK)
    with web_server(body='{"ok": true}') as server:
        sent_to(TELEGRAM, server.port, text, monkeypatch)
        sent_to(f"json://127.0.0.1:{server.port}/?format=html", server.port, text, monkeypatch)
    telegram, html = (json.loads(body) for _, body in server.requests)
    assert telegram["parse_mode"] == "HTML"
    assert telegram["text"].startswith("<b>a &lt;b&gt;</b>")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in telegram["text"]
    assert 'File "&lt;stdin&gt;"' in telegram["text"].replace("&quot;", '"')
    assert telegram["text"].count("\n") >= 2
    assert "<script>" not in html["message"]
    assert html["message"].count("<br/>") >= 1


def test_services_that_expect_text_get_it_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server() as server:
        sent_to(
            f"json://127.0.0.1:{server.port}/", server.port, Message(subject="a", body=TRACEBACK), monkeypatch
        )
    assert json.loads(server.requests[0][1])["message"] == TRACEBACK.rstrip()


@pytest.mark.parametrize(
    ("service", "field", "limit"), [(TELEGRAM, "text", 4096), (DISCORD, "content", 2000)]
)
@pytest.mark.parametrize("short_body", ["short <b> & why\n", "", "<" * 10_000])
def test_a_long_message_is_one_that_the_service_accepts(
    monkeypatch: pytest.MonkeyPatch, service: str, field: str, limit: int, short_body: str
) -> None:
    text = Message(subject="probe failed", body="first\n" + TRACEBACK * 500, short_body=short_body)
    with web_server(body='{"ok": true}') as server:
        sent_to(service, server.port, text, monkeypatch)
    assert len(server.requests) == 1
    sent = json.loads(server.requests[0][1])[field]
    assert len(sent) <= limit
    assert "probe failed" in sent
    assert ("why" in sent) is ("why" in short_body)
    assert re.search(r"&[a-z]*$", sent) is None


@pytest.mark.parametrize("level", ["urllib3", "urllib3.connectionpool", "requests", "apprise"])
def test_no_library_logs_where_a_message_is_sent(caplog: pytest.LogCaptureFixture, level: str) -> None:
    caplog.set_level("DEBUG")
    caplog.set_level("DEBUG", level)
    with web_server() as server:
        destinations.send(url(server.port), Message(subject="a", body="b"), uuid4())
    assert server.paths == ["/s3cretpath"]
    assert "s3cretpath" not in caplog.text


def test_nothing_is_logged_in_the_instant_in_which_another_thread_has_sent_its_message(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    logger = logging.getLogger("urllib3")
    begun, sent = threading.Event(), threading.Event()

    def send() -> None:
        with destinations._withheld():
            begun.set()
            sent.wait(60)

    class AnotherIsDone(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            sent.set()
            other.join(60)
            return True

    other, done = threading.Thread(target=send), AnotherIsDone()
    other.start()
    begun.wait(60)
    logger.addFilter(done)
    try:
        with destinations._withheld():
            logger.warning("POST /s3cretpath")
    finally:
        logger.removeFilter(done)
        sent.set()
        other.join(60)
    assert "s3cretpath" not in caplog.text


def test_a_server_that_says_nothing_is_given_up_after_a_while(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(destinations, "READ_SECONDS", 0.2)
    test = Message(subject="a", body="b")
    with silent_server() as port:
        use_mail_server(settings, port)
        for to in (destination(), url(port)):
            with pytest.raises(NotDeliveredError):
                destinations.send(to, test, uuid4())


def test_a_destination_without_an_address_is_an_error() -> None:
    with pytest.raises(NotDeliveredError, match="no address"):
        destinations.send(destination(addresses=""), Message(subject="a", body="b"), uuid4())


def test_without_apprise_a_url_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert "django-jobledger[alerts]" in destinations.why_invalid("json://example.com")
    with pytest.raises(NotDeliveredError, match="django-jobledger"):
        destinations.send(url(1), Message(subject="a", body="b"), uuid4())


def log_of(caplog: pytest.LogCaptureFixture, logger: str) -> str:
    return "\n".join(each.getMessage() for each in caplog.records if each.name == logger)


@pytest.mark.parametrize("text", ["bogus://x", "", "hello", "slack://"])
def test_a_url_that_apprise_does_not_support_is_invalid(text: str) -> None:
    assert "Apprise supports" in destinations.why_invalid(text)


def test_a_url_that_is_not_valid_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    # The first use of Apprise logs its language.
    assert destinations.why_invalid("jsons://example.com/path") == ""
    caplog.clear()
    assert destinations.why_invalid("hooks.slack.com/services/s3cret")
    assert log_of(caplog, "apprise") == ""


def test_a_url_that_apprise_supports_is_valid() -> None:
    assert destinations.why_invalid("jsons://example.com/path") == ""


def test_an_error_hides_every_part_of_a_url() -> None:
    secret = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkd%2Fnlazk/#general"
    text = destinations._without_secrets(
        secret, f"cannot send to {secret}: TIiajkd/nlazk T1JJ3T3L2 is unknown"
    )
    assert not {"T1JJ3T3L2", "A1BRTD4JD", "TIiajkd", "nlazk", "general"} & set(text.replace("/", " ").split())


# --- Several processes


@pytest.fixture
def due(clock: time_machine.Traveller) -> AlertDestination:
    """A destination that an alert is due to."""
    to = destination()
    rule(to)
    fail()
    clock.shift(30)
    return to


def test_a_destination_is_claimed_by_one_process_at_a_time(due: AlertDestination) -> None:
    first = delivery.claim(due.pk, timezone.now(), uuid4())
    assert first is not None
    assert delivery.claim(due.pk, timezone.now(), uuid4()) is None
    assert delivery.ready_destinations(timezone.now()) == []


def test_a_process_that_dies_while_it_sends_leaves_nothing_that_is_sent_twice(
    due: AlertDestination, clock: time_machine.Traveller, smtp: Received
) -> None:
    delivery.claim(due.pk, timezone.now(), uuid4())
    fail(job="lasting")
    clock.shift(delivery.CLAIM)
    assert deliver_all() == 1
    assert states() == ["unknown", "delivered"]
    assert "lasting failed" in smtp.mails[0]["Subject"]


def test_the_claim_of_a_process_that_has_died_ends_when_that_is_noticed(
    due: AlertDestination, clock: time_machine.Traveller, smtp: Received
) -> None:
    delivery.claim(due.pk, timezone.now(), uuid4())
    fail(job="lasting")
    clock.shift(ABSENT_AFTER)
    assert deliver_all() == 1
    assert states() == ["unknown", "delivered"]


def test_the_claim_of_a_process_that_is_alive_lasts_until_it_must_be_done(
    due: AlertDestination, clock: time_machine.Traveller, smtp: Received
) -> None:
    delivery.claim(due.pk, timezone.now(), uuid4())
    clock.shift(delivery.CLAIM - timedelta(seconds=1))
    identity, now = IDENTITY, timezone.now()
    ServiceProcess.objects.create(kind=ProcessKind.BEAT, name="b", identity=identity, seen_at=now)
    fail(job="lasting")
    clock.shift(0.5)
    assert deliver_all() == 0
    assert states() == ["sending", "waiting"]


def test_what_was_interrupted_is_marked_even_if_nothing_else_is_sent(
    due: AlertDestination, clock: time_machine.Traveller
) -> None:
    delivery.claim(due.pk, timezone.now(), uuid4())
    clock.shift(delivery.CLAIM)
    delivery.tidy(timezone.now())
    assert states() == ["unknown"]
    assert "has died" in AlertDelivery.objects.get().error


def test_a_mistake_in_a_message_does_not_block_its_destination(
    due: AlertDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message, "compose", lambda alerts: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        delivery.deliver(due.pk)
    due.refresh_from_db()
    assert (due.busy_until, due.failures, states()) == (None, 1, ["waiting"])


@pytest.mark.django_db(transaction=True)
def test_processes_that_compete_send_each_alert_once(
    settings: Settings, smtp: Received, tmp_path: Path
) -> None:
    override(settings, ALERT_WAIT_SECONDS=0.001, ALERT_INTERVAL_SECONDS=0.001)

    def send(pks: list[int]) -> None:
        for _ in range(5):
            for pk in pks:
                delivery.deliver(pk)

    with side_by_side(tmp_path) as threads:
        tos = [destination(f"team {number}") for number in range(3)]
        rule(*tos)
        fail()
        fail(job="lasting")
        threads.call([partial(send, [to.pk for to in tos]) for _ in range(4)])
        assert states() == ["delivered"] * 6
    assert len(smtp.mails) == 3


def test_a_slow_receiver_holds_up_no_other() -> None:
    senders, release, sent = Senders(), threading.Event(), list[str]()
    senders.start("slow", lambda: release.wait(60))
    senders.start("slow", lambda: sent.append("slow again"))
    senders.start("fast", lambda: sent.append("fast"))
    wait_until(lambda: sent == ["fast"])
    release.set()
    senders.join(60)
    assert sent == ["fast"]
