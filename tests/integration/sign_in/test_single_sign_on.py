"""Single sign-on with a real provider, over HTTP."""

import json
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.identity_provider import describe
from tests.integration.service import Service, service
from tests.integration.sign_in.visitor import Visitor
from tests.ports import free_port
from tests.waiting import wait_until

RUNS = "/admin/jobledger/run/"
ADD_SCHEDULE = "/admin/django_celery_beat/periodictask/add/"
REFUSED = "ACME knows you, but none of your groups may use this service."


@dataclass(frozen=True, kw_only=True)
class Place:
    """The service's web server, and the provider that it trusts."""

    service: Service
    url: str
    provider: str

    def visitor(self) -> Visitor:
        return Visitor(site=self.url)

    def user(self, subject: str) -> dict[str, Any] | None:
        """The account of this user of the provider."""
        found: dict[str, Any] | None = json.loads(
            self.service.shell(
                "import json\n"
                "from allauth.socialaccount.models import SocialAccount\n"
                f"found = SocialAccount.objects.filter(uid={subject!r}).first()\n"
                "user = found and found.user\n"
                "print(json.dumps(found and {'username': user.username, 'is_staff': user.is_staff,"
                " 'is_superuser': user.is_superuser, 'password': user.has_usable_password(),"
                " 'groups': sorted(user.groups.values_list('name', flat=True))}))"
            )
        )
        return found


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def start_provider(service: Service, url: str) -> None:
    service.start("provider", sys.executable, "-m", "tests.identity_provider", str(urlsplit(url).port))


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    port, provider_port = free_port(), free_port()
    url, provider = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{provider_port}"
    variables = {
        "TOTP_REQUIRED": "true",
        "OIDC_ISSUER": provider,
        "OIDC_NAME": "ACME",
        "OIDC_CLIENT_ID": "jobs",
        "OIDC_CLIENT_SECRET": "secret",
        "OIDC_GROUPS": "ops=Job operators,dev=Job viewers,gone=No such group",
    }
    with service(**variables) as started:
        start_provider(started, provider)
        flags = ("--bind", f"127.0.0.1:{port}", "--threads", "4", "--no-control-socket")
        started.start("web", sys.executable, "-m", "gunicorn", "proj.wsgi", *flags)
        started.manage("migrate", "--verbosity", "0")
        started.shell("from jobledger.admin import rights; rights.create_groups()")
        wait_until(lambda: answers(provider) and answers(f"{url}/healthz"), what="both servers answer")
        yield Place(service=started, url=url, provider=provider)


def somebody(place: Place, *groups: str, **claims: Any) -> str:
    """A new user of the provider; returns the subject."""
    subject = uuid.uuid4().hex
    about = {"preferred_username": f"u{subject[:8]}", "email": f"{subject[:8]}@example.com", "groups": groups}
    describe(place.provider, subject, **{**about, **claims})
    return subject


def test_a_user_in_a_mapped_group_gets_that_group_and_the_requested_page(
    place: Place,
) -> None:
    subject, visitor = somebody(place, "dev", "others"), place.visitor()
    assert f"/oidc/login/?next={RUNS}" in visitor.get(f"/admin/login/?next={RUNS}").text
    answer = visitor.sign_in(subject, to=RUNS)
    assert (answer.status, answer.url) == (200, place.url + RUNS)
    assert place.user(subject) == {
        "username": f"u{subject[:8]}",
        "is_staff": True,
        "is_superuser": False,
        "password": False,
        "groups": ["Job viewers"],
    }
    assert visitor.get(ADD_SCHEDULE).status == 403


def test_a_user_without_a_mapped_group_gets_an_explanation_and_no_account(place: Place) -> None:
    subject, visitor = somebody(place, "others", "gone"), place.visitor()
    answer = visitor.sign_in(subject)
    assert answer.url == f"{place.url}/admin/login/"
    assert REFUSED in answer.text
    assert visitor.get("/admin/").url.startswith(f"{place.url}/admin/login/")
    assert place.user(subject) is None


@pytest.mark.parametrize(
    "claims", [{"groups": None}, {"groups": "dev"}, {"groups": ["DEV"]}, {"groups": {}}], ids=str
)
def test_a_groups_claim_of_another_type_grants_no_more_than_it_names(
    place: Place, claims: dict[str, Any]
) -> None:
    answer = place.visitor().sign_in(somebody(place, **claims))
    assert answer.status == 200
    assert (REFUSED in answer.text) == (claims["groups"] != "dev")


def test_a_user_who_leaves_the_groups_loses_the_rights_at_the_next_login(place: Place) -> None:
    subject = somebody(place, "ops", "dev")
    inside, later = place.visitor(), place.visitor()
    inside.sign_in(subject)
    assert place.user(subject)["groups"] == ["Job operators", "Job viewers"]  # type: ignore[index]
    give_group = (
        "SocialAccount.objects.get(uid={!r}).user.groups.add(Group.objects.get(name='Schedule editors'))"
    )
    place.service.shell(
        "from django.contrib.auth.models import Group\n"
        "from allauth.socialaccount.models import SocialAccount\n" + give_group.format(subject)
    )
    describe(place.provider, subject, groups=[])
    assert REFUSED in later.sign_in(subject).text
    account = place.user(subject)
    assert account
    # A group that the administrator gave stays.
    assert (account["is_staff"], account["groups"]) == (False, ["Schedule editors"])
    assert inside.get("/admin/").url.startswith(f"{place.url}/admin/login/")


def test_an_account_belongs_to_the_subject_and_not_to_a_name_or_an_email_address(place: Place) -> None:
    place.service.shell(
        "from django.contrib.auth.models import User\n"
        "User.objects.create_superuser('boss', 'boss@example.com', 'right')"
    )
    twins = {"preferred_username": "boss", "email": "boss@example.com", "email_verified": True}
    for _ in range(2):
        subject = somebody(place, "dev", **twins)
        assert place.visitor().sign_in(subject).url == f"{place.url}/admin/"
        account = place.user(subject)
        assert account
        assert account["username"] != "boss"
        assert not account["is_superuser"]


@pytest.mark.parametrize(
    "to",
    [
        "https://elsewhere.example.com/",
        "//elsewhere.example.com",
        "javascript:alert(1)",
        "/\\elsewhere.example.com",
    ],
)
def test_users_are_not_redirected_to_another_site(place: Place, to: str) -> None:
    assert place.visitor().sign_in(somebody(place, "dev"), to=to).url == f"{place.url}/admin/"


def test_whoever_says_no_to_the_provider_is_back_at_the_login(place: Place) -> None:
    visitor = place.visitor()
    page = visitor.get("/oidc/login/")
    answer = visitor.post(page.url, action="deny")
    assert answer.url == f"{place.url}/admin/login/"
    assert "The login with ACME was cancelled or has failed." in answer.text


def test_an_answer_that_this_browser_did_not_ask_for_opens_nothing(place: Place) -> None:
    """Else somebody could be logged in as somebody else, by a link."""
    asked, other = place.visitor(), place.visitor()
    state = parse_qs(urlsplit(asked.get("/oidc/login/").url).query)["state"][0]
    for address in (f"/oidc/callback/?code=x&state={state}", "/oidc/callback/?code=x", "/oidc/callback/"):
        answer = other.get(address)
        assert answer.url == f"{place.url}/admin/login/"
        assert "has failed" in answer.text


def test_a_code_that_the_provider_does_not_know_opens_nothing(place: Place) -> None:
    visitor = place.visitor()
    state = parse_qs(urlsplit(visitor.get("/oidc/login/").url).query)["state"][0]
    assert "has failed" in visitor.get(f"/oidc/callback/?code=x&state={state}").text


def test_what_is_said_of_another_user_opens_nothing(place: Place) -> None:
    other = somebody(place, "ops")
    place.visitor().sign_in(other)
    visitor = place.visitor()
    assert "has failed" in visitor.sign_in(somebody(place, "ops", other_sub=other)).text
    assert visitor.get("/admin/").url.startswith(f"{place.url}/admin/login/")


def test_the_provider_is_asked_with_pkce(place: Place) -> None:
    asked = parse_qs(urlsplit(place.visitor().get("/oidc/login/").url).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["redirect_uri"] == [f"{place.url}/oidc/callback/"]
    assert set(asked["scope"][0].split()) == {"openid", "profile", "email"}


def test_a_user_who_was_deactivated_stays_outside(place: Place) -> None:
    subject = somebody(place, "dev")
    place.visitor().sign_in(subject)
    place.service.shell(
        "from django.contrib.auth.models import User\n"
        f"User.objects.filter(username='u{subject[:8]}').update(is_active=False)"
    )
    assert "Your account is deactivated here." in place.visitor().sign_in(subject).text


def test_allauths_own_pages_are_not_there(place: Place) -> None:
    for address in ("/accounts/login/", "/accounts/signup/", "/oidc/oidc/login/", "/oidc/signup/"):
        assert place.visitor().get(address).status == 404


def test_a_password_still_needs_a_code(place: Place) -> None:
    place.service.shell(
        "from django.contrib.auth.models import User\n"
        "User.objects.create_superuser('local', password='right')"
    )
    answer = place.visitor().log_in("local", "right")
    assert answer.url == f"{place.url}/admin/login/code/"


def test_a_provider_that_does_not_answer_is_named(place: Place) -> None:
    place.service.stop("provider")
    try:
        answer = place.visitor().get("/oidc/login/")
    finally:
        start_provider(place.service, place.provider)
        wait_until(lambda: answers(place.provider), what="the provider answers again")
    assert answer.url == f"{place.url}/admin/login/"
    assert "ACME does not answer." in answer.text
