"""The HTTP API for other programs: what the operator's commands can do, with tokens instead of a login.

It is off until the project includes ``jobledger.api.urls``. Only the first request imports django-ninja, the
extra ``api``, so that no other process pays for it.
"""
