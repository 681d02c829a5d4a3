"""An OpenID Connect provider on the loopback: ``python -m tests.identity_provider PORT``.

Whoever names a subject on its page is that user.
"""

import json
import urllib.request
from typing import Any


def describe(url: str, subject: str, **claims: Any) -> None:
    """What the provider at this address says of the user from now on."""
    request = urllib.request.Request(f"{url}/users/{subject}", json.dumps(claims).encode(), method="PUT")
    request.add_header("Content-Type", "application/json")
    urllib.request.urlopen(request, timeout=10).close()
