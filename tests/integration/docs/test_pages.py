"""All commands and files in README and the manual, as a reader types them, with the service running."""

import re
import urllib.request
from datetime import datetime
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.integration.docs.clone import Clone, has_a_restart
from tests.manual import ADOPTING, ROOT, blocks_of, pages
from tests.terminal import terminal, type_in

pytestmark = pytest.mark.takes_long

PAGES = [
    page
    for page in pages()
    if page != ADOPTING and any(block.is_a_file or block.is_typed for block in blocks_of(page))
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_the_page_work(clone: Clone, path: Path) -> None:
    with terminal(clone.folder, clone.environment) as shell:
        for block in blocks_of(path):
            if block.comes_after_a_restart:
                clone.restart()
            if block.is_a_file and has_a_restart(path):
                clone.write(block)
            if block.is_typed:
                type_in(shell, clone.addressed(block))


def test_a_run_from_the_command_line_is_visible_in_the_admin(clone: Clone) -> None:
    with terminal(clone.folder, clone.environment) as shell:
        assert shell.run("./manage.py cleanup_tokens --dry-run").exit_code == 0
    reader = logged_in(clone)
    runs = reader.open(f"{clone.url}/admin/jobledger/run/?job=cleanup_tokens").read().decode()
    run = re.search(r'href="(/admin/jobledger/run/[0-9a-f-]{36}/[^"]*)"', runs)
    assert run
    assert "candidates for deletion" in reader.open(clone.url + run[1]).read().decode()


def test_the_readmes_job_runs_here_and_in_a_worker_and_its_schedule_exists(clone: Clone) -> None:
    with terminal(clone.folder, clone.environment) as shell:
        for line in "send_invoices --limit 5", "jobledger call --wait send_invoices --limit 5":
            done = shell.run(f"./manage.py {line}")
            assert done.exit_code == 0
            assert re.search("Sent at most 5 invoices of [0-9-]{10}", done.output)
        slots = shell.run("./manage.py jobledger next send_invoices --count 7").output.split()
    assert {slot.partition("T")[2] for slot in slots} == {"06:30:00+00:00"}
    assert {datetime.fromisoformat(slot).weekday() for slot in slots} == {0, 1, 2, 3, 4}


def logged_in(clone: Clone) -> urllib.request.OpenerDirector:
    """A browser in which ``admin`` has logged in with the password from the manual."""
    cookies = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(cookies))
    login = f"{clone.url}/admin/login/?next=/admin/"
    browser.open(login).close()
    token = next(cookie.value for cookie in cookies if cookie.name == "csrftoken")
    password = (clone.folder / "var" / "admin_password").read_text().strip()
    form = {"username": "admin", "password": password, "csrfmiddlewaretoken": token}
    browser.open(login, urlencode(form).encode()).close()
    return browser
