"""How tests say their figures: those of a test that passed are wanted as well."""

from collections.abc import Callable

Say = Callable[[str], None]
