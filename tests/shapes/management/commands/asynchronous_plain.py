"""A plain command whose ``handle`` is a coroutine function: with Django alone, it would not run."""

import asyncio
from typing import Any

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Print."

    async def handle(self, *args: Any, **options: Any) -> str:  # type: ignore[override]
        await asyncio.sleep(0)
        return "awaited"
