"""Sign-ins between the password and the code.

They are stored in the session of a user who is still anonymous: until the code is correct, only the page that
asks for it knows the user.
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
    """A sign-in that still needs a code."""

    user_id: int
    session_hash: str
    """The user's session hash, which changes with the password."""
    backend: str
    next_url: str
    recovery_device_id: int | None = None
    """The device whose recovery code was accepted, so that the user can replace a lost phone."""
    key: str = field(default_factory=lambda: secrets.token_hex(20))
    """The secret of the device that the user may set up, different for every sign-in."""
    since: float = field(default_factory=time.time)

    def load_user(self) -> User | None:
        """The user; None if the sign-in is too old, or the account has changed in the meantime."""
        found = User.objects.filter(pk=self.user_id).first()
        if found is None or time.time() - self.since > LIFE_SECONDS:
            return None
        unchanged = constant_time_compare(found.get_session_auth_hash(), self.session_hash)
        return found if found.is_active and found.is_staff and unchanged else None

    def save(self, request: HttpRequest) -> None:
        """Store it for the next page, under a new session key."""
        request.session.cycle_key()
        request.session[_SESSION_KEY] = asdict(self)

    @staticmethod
    def forget(request: HttpRequest) -> None:
        request.session.pop(_SESSION_KEY, None)


def pending_in(request: HttpRequest) -> Pending | None:
    kept = request.session.get(_SESSION_KEY)
    return Pending(**kept) if kept else None
