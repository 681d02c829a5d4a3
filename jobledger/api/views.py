"""The view of all endpoints, which hands the request over to the API proper."""

from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from jobledger.public_views import without_body


@csrf_exempt
@never_cache
@login_not_required
# A request that is counted must not lock the row of its address, or its token, until it is answered.
@transaction.non_atomic_requests
@without_body
def endpoint(request: HttpRequest, path: str) -> HttpResponse:
    """No session is looked at, so that no other site can make a browser send a request that counts."""
    from jobledger.api import dispatching

    return dispatching.respond(request, path)
