"""Another service: a Celery app without Django and without jobledger, with the same broker and results."""

import os
from typing import Any

from celery import Celery

from proj.state import REDIS_KEY_PREFIX

app = Celery("billing", broker=os.environ["REDIS_URL"], backend=os.environ["RESULT_BACKEND_URL"])
app.conf.broker_transport_options = {"global_keyprefix": REDIS_KEY_PREFIX}
app.conf.result_backend_transport_options = {"global_keyprefix": REDIS_KEY_PREFIX}


class DeclinedError(Exception):
    """No other service knows this class."""


@app.task(name="billing.charge")
def charge(amount: int) -> int:
    if amount > 100:
        raise DeclinedError(f"{amount} is too much")
    return amount


@app.task(name="billing.charge_later", bind=True, max_retries=1)
def charge_later(self: Any) -> str:
    if not self.request.retries:
        raise self.retry(exc=DeclinedError("not yet"), countdown=2)
    return "charged"


@app.task(name="billing.forget", ignore_result=True)
def forget() -> None:
    """Nobody hears of its end."""
