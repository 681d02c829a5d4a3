"""Which tests run on PostgreSQL as well: those of what a database can change.

What the ORM does with plain lookups and saves is Django's affair, and the same everywhere. Therefore a unit
test that uses a database runs on every one if the module that it tests, by its file's place and name,
writes more than that: expressions, aggregates, locks, batches, transactions or SQL of its own. So does a
test whose file mentions a database or its errors, one of no single module, one with real transactions, and
one marked ``every_database``. With the option ``-m "… not one_database …"``, files without any of these
are not even imported.
"""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UNIT_TESTS = ROOT / "tests" / "unit"
_EXPRESSIONS = (
    "F|Q|Func|Value|RawSQL|Case|Cast|Coalesce|Exists|OuterRef|Subquery|Count|Sum|Min|Max|Avg|Greatest|Least"
)
_QUERIES = "annotate|alias|aggregate|union|distinct|extra|raw|iterator|cursor"
_WRITES = "select_for_update|bulk_create|bulk_update|get_or_create|update_or_create"
_LOOKUPS = "i?contains|i?startswith|i?endswith|i?regex|iexact|has_key|has_keys"
MORE_THAN_PLAIN = re.compile(
    rf"\b(?:{_EXPRESSIONS})\(|\.(?:{_QUERIES}|{_WRITES})\(|__(?:{_LOOKUPS})\b|\batomic\b|\bon_commit\b"
)
MENTIONED = re.compile(
    r"(?i:postgres|sqlite)|\b(?:Data|Integrity|Operational|Programming|Database)Error\b"
    r"|\bconnection\.(?!queries)|\\(?:x00|u0000|0)"
)

REAL_TRANSACTIONS = re.compile(r"\btransaction=True\b|\btransactional_db\b")
ALL_FOR_ONE = re.compile(r"^pytestmark = \[[^]]*\bone_database\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Save the time to import what would be deselected."""
    is_for_databases = "not one_database" in config.getoption("markexpr")
    return True if is_for_databases and is_for_one_database(collection_path) else None


def is_for_one_database(test_file: Path) -> bool:
    """Whether it is known from the text of a file that none of its tests runs on every database."""
    if UNIT_TESTS not in test_file.parents or not test_file.match("test_*.py"):
        return False
    text = test_file.read_text()
    if "every_database" in text or REAL_TRANSACTIONS.search(text):
        return False
    return "django_db" not in text or bool(ALL_FOR_ONE.search(text)) or not concerns_databases(test_file)


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a unit test as one for a single database."""
    if (
        UNIT_TESTS in item.path.parents
        and not _has_real_transactions(item)
        and not concerns_databases(item.path)
    ):
        item.add_marker("one_database")


def _has_real_transactions(item: pytest.Item) -> bool:
    used = item.get_closest_marker("django_db")
    fixtures = item.fixturenames if isinstance(item, pytest.Function) else ()
    return bool(used and used.kwargs.get("transaction")) or "transactional_db" in fixtures


@cache
def concerns_databases(test_file: Path) -> bool:
    """Whether the tests mention a database, or what they test has more than plain lookups and saves."""
    sources = sources_of(test_file.relative_to(UNIT_TESTS))
    return (
        not sources
        or bool(MENTIONED.search(test_file.read_text()))
        or any(MORE_THAN_PLAIN.search(source.read_text()) for source in sources)
    )


def sources_of(test_file: Path) -> list[Path]:
    """The module with the longest name that the file's begins with, or all modules of such a package."""
    words = test_file.stem.removeprefix("test_").split("_")
    for count in range(len(words), 0, -1):
        module = ROOT / test_file.parent / "_".join(words[:count])
        if module.is_dir():
            return sorted(module.rglob("*.py"))
        if (file := module.with_suffix(".py")).exists():
            return [file]
    return []
