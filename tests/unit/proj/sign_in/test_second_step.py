"""A sign-in with a second factor: there is no way around it, and no way to lock users out."""

import re
from base64 import b32decode
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_otp.oath import totp as totp_code
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings

from proj.sign_in.pending import LIFE_SECONDS

pytestmark = [pytest.mark.django_db, pytest.mark.one_database, pytest.mark.usefixtures("totp")]

LOGIN, CODE, HOME = "/admin/login/", "/admin/login/code/", "/admin/"
RUNS = "/admin/jobledger/run/"
PASSWORD = "right"


@pytest.fixture
def ann() -> User:
    return User.objects.create_superuser("ann", password=PASSWORD)


@pytest.fixture
def phone(ann: User) -> TOTPDevice:
    return TOTPDevice.objects.create(user=ann, name="phone")


def give_password(client: Client, *, username: str = "ann", password: str = PASSWORD, to: str = HOME) -> Any:
    return client.post(LOGIN, {"username": username, "password": password, "next": to})


def give_code(client: Client, code: str) -> Any:
    return client.post(CODE, {"code": code})


def code_of(device: TOTPDevice) -> str:
    return f"{totp_code(device.bin_key):06}"


def wrong_code_of(device: TOTPDevice) -> str:
    near = {f"{totp_code(device.bin_key, drift=drift):06}" for drift in (-2, -1, 0, 1, 2)}
    return next(
        code for code in ("111111", "222222", "333333", "444444", "555555", "666666") if code not in near
    )


def key_on(page: str) -> bytes:
    """The key that the page displays for apps that cannot scan."""
    shown = re.search(r'class="key">([A-Z2-7 ]+)<', page)
    assert shown
    return b32decode(shown[1].replace(" ", ""))


def is_inside(client: Client) -> bool:
    return client.get(HOME).status_code == 200


def test_a_password_alone_is_not_enough(client: Client, phone: TOTPDevice) -> None:
    answer = give_password(client)
    assert (answer.status_code, answer.url) == (302, CODE)
    assert not is_inside(client)
    assert "_auth_user_id" not in client.session


def test_password_and_code_lead_to_the_requested_page(client: Client, phone: TOTPDevice) -> None:
    give_password(client, to=RUNS)
    answer = give_code(client, code_of(phone))
    assert (answer.status_code, answer.url) == (302, RUNS)
    assert client.get(RUNS).status_code == 200


def test_a_code_may_be_typed_as_displayed_by_the_app(client: Client, phone: TOTPDevice) -> None:
    give_password(client)
    code = code_of(phone)
    give_code(client, f"{code[:3]} {code[3:]}")
    assert is_inside(client)


def test_users_are_not_redirected_to_another_site(client: Client, phone: TOTPDevice) -> None:
    give_password(client, to="https://elsewhere.example.com/")
    assert give_code(client, code_of(phone)).url == HOME


def test_a_wrong_password_is_reported_on_the_first_page(client: Client, phone: TOTPDevice) -> None:
    assert "Please enter the correct username" in give_password(client, password="wrong").text


def test_the_page_for_the_code_requires_the_right_password(client: Client, ann: User) -> None:
    assert client.get(CODE).url == LOGIN  # type: ignore[attr-defined]  # of a redirection
    assert give_code(client, "123456").url == LOGIN


def test_a_code_is_accepted_only_once(client: Client, phone: TOTPDevice) -> None:
    code = code_of(phone)
    give_password(client)
    give_code(client, code)
    other = Client()
    give_password(other)
    assert "This code is wrong" in give_code(other, code).text
    assert not is_inside(other)


def test_another_users_code_is_wrong(client: Client, phone: TOTPDevice) -> None:
    bob = User.objects.create_superuser("bob", password=PASSWORD)
    TOTPDevice.objects.create(user=bob, name="phone")
    give_password(client, username="bob")
    assert "This code is wrong" in give_code(client, code_of(phone)).text


@pytest.mark.parametrize(
    "code",
    ["", "   ", "\uff11\uff12\uff13\uff14\uff15\uff16", "\u00bd\u00bd", "-12345", "x" * 33, "0", "9" * 32],
)
def test_an_invalid_code_is_an_error_next_to_the_field(client: Client, phone: TOTPDevice, code: str) -> None:
    give_password(client)
    answer = give_code(client, code)
    assert answer.status_code == 200
    assert 'class="errorlist"' in answer.text
    assert 'aria-invalid="true"' in answer.text


def test_after_five_wrong_codes_the_login_is_locked(client: Client, phone: TOTPDevice) -> None:
    with time_machine.travel(timezone.now()) as clock:
        for _ in range(5):
            give_password(client)
            answer = give_code(client, wrong_code_of(phone))
            clock.shift(timedelta(seconds=40))
        assert answer.status_code == 429
        assert give_code(client, code_of(phone)).status_code == 429
        assert client.get(CODE).status_code == 429
        assert give_password(client).status_code == 429
        clock.shift(timedelta(minutes=16))
        give_password(client)
        give_code(client, code_of(phone))
        assert is_inside(client)


def test_the_right_password_does_not_reset_wrong_codes(client: Client, phone: TOTPDevice) -> None:
    give_password(client)
    give_code(client, wrong_code_of(phone))
    give_password(client)
    assert AccessAttempt.objects.get().failures_since_start == 1


def test_codes_are_not_stored(client: Client, phone: TOTPDevice, settings: Settings) -> None:
    settings.AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "code"]
    wrong = wrong_code_of(phone)
    give_password(client)
    give_code(client, wrong)
    assert wrong not in AccessAttempt.objects.get().post_data


def test_guessing_fast_requires_waiting(client: Client, phone: TOTPDevice) -> None:
    give_password(client)
    give_code(client, wrong_code_of(phone))
    answer = give_code(client, code_of(phone))
    assert "Too many wrong codes. Wait 1 s" in answer.text
    # That did not count as a guess.
    assert AccessAttempt.objects.get().failures_since_start == 1


def test_the_code_must_follow_soon(client: Client, phone: TOTPDevice) -> None:
    with time_machine.travel(timezone.now()) as clock:
        give_password(client)
        clock.shift(LIFE_SECONDS + 1)
        assert give_code(client, code_of(phone)).url == LOGIN


@pytest.mark.parametrize(
    "change", [{"is_active": False}, {"is_staff": False}, {"password": "another"}], ids=str
)
def test_if_the_account_changes_the_sign_in_starts_over(
    client: Client, phone: TOTPDevice, change: dict[str, Any]
) -> None:
    give_password(client)
    User.objects.update(**change)
    assert give_code(client, code_of(phone)).url == LOGIN


def test_users_without_an_app_set_one_up_at_the_first_login(client: Client, ann: User) -> None:
    give_password(client)
    page = client.get(CODE).text
    assert '<svg viewBox="' in page
    assert "style=" not in page.partition("<main")[2]
    answer = give_code(client, f"{totp_code(key_on(page)):06}")
    assert answer.url == HOME
    assert is_inside(client)
    device = TOTPDevice.objects.get(user=ann)
    assert device.bin_key == key_on(page)
    # From now on, the code is required.
    other = Client()
    give_password(other)
    assert "Enter your code" in other.get(CODE).text


def test_the_code_that_sets_up_an_app_cannot_be_reused(client: Client, ann: User) -> None:
    give_password(client)
    code = f"{totp_code(key_on(client.get(CODE).text)):06}"
    give_code(client, code)
    other = Client()
    give_password(other)
    give_code(other, code)
    assert not is_inside(other)


def test_an_app_is_set_up_only_with_its_code(client: Client, ann: User) -> None:
    give_password(client)
    assert "This code is wrong" in give_code(client, "000000").text
    assert not TOTPDevice.objects.exists()
    assert not is_inside(client)


def test_the_key_is_different_at_each_login(client: Client, ann: User) -> None:
    pages = []
    for _ in range(2):
        give_password(client)
        pages.append(client.get(CODE).text)
    assert key_on(pages[0]) != key_on(pages[1])


def test_setting_up_an_app_cannot_be_finished_once_there_is_another(client: Client, ann: User) -> None:
    give_password(client)
    key = key_on(client.get(CODE).text)
    TOTPDevice.objects.create(user=ann, name="phone")
    give_code(client, f"{totp_code(key):06}")
    assert not is_inside(client)
    assert TOTPDevice.objects.get().bin_key != key


def recovery_code(capsys: pytest.CaptureFixture[str]) -> str:
    call_command("addstatictoken", "ann")
    return capsys.readouterr().out.strip()


def test_a_recovery_code_replaces_a_lost_phone(
    client: Client, phone: TOTPDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    give_password(client)
    give_code(client, recovery_code(capsys))
    assert not is_inside(client)
    page = client.get(CODE).text
    assert "Your recovery code was accepted" in page
    give_code(client, f"{totp_code(key_on(page)):06}")
    assert is_inside(client)
    assert TOTPDevice.objects.get().bin_key == key_on(page)


def test_after_a_recovery_code_the_old_phone_can_be_kept(
    client: Client, phone: TOTPDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    code = recovery_code(capsys)
    give_password(client)
    give_code(client, code.upper())
    client.post(CODE, {"keep": ""})
    assert is_inside(client)
    assert TOTPDevice.objects.get() == phone
    other = Client()
    give_password(other)
    assert "This code is wrong" in give_code(other, code).text


def test_after_a_stolen_phone_is_deleted_another_one_requires_a_recovery_code(
    client: Client, phone: TOTPDevice, capsys: pytest.CaptureFixture[str]
) -> None:
    recovery_code(capsys)
    phone.delete()
    give_password(client)
    assert "Enter your code" in client.get(CODE).text


def test_nothing_is_kept_without_a_recovery_code(client: Client, phone: TOTPDevice) -> None:
    StaticDevice.objects.create(user=phone.user, name="empty")
    give_password(client)
    assert client.post(CODE, {"keep": ""}).status_code == 200
    assert not is_inside(client)


def test_a_lost_phone_that_an_administrator_deletes_ends_the_session(
    client: Client, phone: TOTPDevice
) -> None:
    give_password(client)
    give_code(client, code_of(phone))
    phone.delete()
    assert not is_inside(client)


def test_a_session_from_before_codes_were_required_must_log_in_again(client: Client, ann: User) -> None:
    client.force_login(ann)
    answer = client.get(RUNS)
    assert answer.url == f"{LOGIN}?next={RUNS}"  # type: ignore[attr-defined]  # of a redirection
    assert "Your session was opened without a code." in client.get(LOGIN).text
    assert client.get(RUNS, headers={"HX-Request": "true"}).status_code == 286


def test_users_who_are_logged_in_need_no_login(client: Client, phone: TOTPDevice) -> None:
    give_password(client)
    give_code(client, code_of(phone))
    assert client.get(LOGIN).url == HOME  # type: ignore[attr-defined]  # of a redirection


def test_the_login_gets_a_new_session(client: Client, phone: TOTPDevice) -> None:
    client.get(LOGIN)
    keys = [client.session.session_key]
    give_password(client)
    keys.append(client.session.session_key)
    give_code(client, code_of(phone))
    keys.append(client.session.session_key)
    assert len(set(keys)) == 3


def test_without_totp_there_is_no_page_for_codes(client: Client, settings: Settings) -> None:
    settings.TOTP_REQUIRED = False
    assert client.get(CODE).status_code == 404
    assert reverse("admin:login_code") == CODE
