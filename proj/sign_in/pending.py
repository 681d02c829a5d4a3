"""Sign-ins between the password and the code.

They are kept in the session of a visitor who is still anonymous: until the code is right, nothing but the
page that asks for it knows of the user.
"""

import secrets
import time
from dataclasses import asdict, dataclass, field

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare

LIFE_SECONDS = 10 * 60
_SESSION_KEY = "pending_sign_in"


@dataclass(frozen=True, kw_only=True)
class Pending:
    """A sign-in that lacks its code."""

    user_id: int
    session_hash: str
    """Of the user; changes with the password."""
    backend: str
    next_url: str
    recovery_device_id: int | None = None
    """The device whose recovery code was accepted: the user may replace a lost phone."""
    key: str = field(default_factory=lambda: secrets.token_hex(20))
    """The secret of the device that the user may set up: never the same in two sign-ins."""
    since: float = field(default_factory=time.time)

    def load_user(self) -> User | None:
        """The user, unless the sign-in is too old, or the account has changed meanwhile."""
        found = User.objects.filter(pk=self.user_id).first()
        if found is None or time.time() - self.since > LIFE_SECONDS:
            return None
        unchanged = constant_time_compare(found.get_session_auth_hash(), self.session_hash)
        return found if found.is_active and found.is_staff and unchanged else None

    def save(self, request: HttpRequest) -> None:
        """Keep it for the next page, under a session key that nobody has seen yet."""
        request.session.cycle_key()
        request.session[_SESSION_KEY] = asdict(self)

    @staticmethod
    def forget(request: HttpRequest) -> None:
        """The sign-in is complete."""
        request.session.pop(_SESSION_KEY, None)


def pending_in(request: HttpRequest) -> Pending | None:
    """What the session keeps."""
    kept = request.session.get(_SESSION_KEY)
    return Pending(**kept) if kept else None
