"""The secret that an address ends with, which is not stored.

It is derived from a random seed and the project's secret key, and found by its digest. So it can be shown to
its owner again, while whoever reads only the database cannot derive it. If the key is replaced, the secret
still works, but can be shown only while the old key is among ``SECRET_KEY_FALLBACKS``.
"""

import hashlib
import secrets
from base64 import urlsafe_b64encode
from typing import Any

from django.conf import settings
from django.utils.crypto import salted_hmac
from django.views.decorators.debug import sensitive_variables

_SALT = "jobledger.feeds"


def new() -> dict[str, str]:
    """The columns of a new secret."""
    seed = secrets.token_urlsafe(32)
    return {"seed": seed, "digest": digest_of(_derived(seed, settings.SECRET_KEY))}


def known(seed: str, digest: str) -> str:
    """The secret with this seed and digest; empty if the key that it was derived with is not known."""
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        secret = _derived(seed, key)
        if digest_of(secret) == digest:
            return secret
    return ""


@sensitive_variables("secret")
def digest_of(secret: str) -> str:
    """Of any text, also of one that is no secret."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _derived(seed: str, key: Any) -> str:
    found = salted_hmac(_SALT, seed, secret=key, algorithm="sha256").digest()
    return urlsafe_b64encode(found).decode().rstrip("=")
