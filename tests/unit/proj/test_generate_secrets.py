import hashlib
import re
import stat
import threading
from pathlib import Path

import environ
import pytest

from proj.generate_secrets import RECIPES, ensure, main
from proj.state import BASE_DIR


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def test_only_the_named_secret_is_generated(tmp_path: Path) -> None:
    main([str(tmp_path), "secret_key"])

    assert [file.name for file in tmp_path.iterdir()] == ["secret_key"]


def test_without_a_name_all_secrets_are_generated(tmp_path: Path) -> None:
    main([str(tmp_path / "app")])

    assert {file.name for file in tmp_path.glob("*/*")} == set(RECIPES)


def test_each_container_gets_a_directory_with_only_its_own_secrets(tmp_path: Path) -> None:
    main([str(tmp_path / "app")])

    names = {folder.name: {file.name for file in folder.iterdir()} for folder in tmp_path.iterdir()}
    assert names == {
        "app": {"secret_key", "database_url", "redis_password", "redis_url"},
        "app-for-db": {"postgres_password", "jobs_password"},
        "app-for-redis": {"redis.conf"},
    }


def test_a_missing_directory_is_created_for_its_owner_only(tmp_path: Path) -> None:
    main([str(tmp_path / "var"), "secret_key"])

    assert mode(tmp_path / "var") == 0o700


def test_an_existing_secret_is_never_changed(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("kept")

    main([str(tmp_path), "secret_key"])

    assert (tmp_path / "secret_key").read_text() == "kept"


def test_secrets_derived_from_an_existing_password_match_it(tmp_path: Path) -> None:
    (tmp_path / "app-for-db").mkdir()
    (tmp_path / "app-for-db" / "jobs_password").write_text("kept")

    assert ensure(tmp_path / "app", "database_url") == "postgres://jobs:kept@db:5432/jobs"


def test_redis_has_the_digest_of_its_clients_password(tmp_path: Path) -> None:
    main([str(tmp_path / "app")])

    password = (tmp_path / "app" / "redis_password").read_text()
    conf = (tmp_path / "app-for-redis" / "redis.conf").read_text()

    assert (tmp_path / "app" / "redis_url").read_text() == f"redis://jobs:{password}@redis:6379/0"
    assert f"#{hashlib.sha256(password.encode()).hexdigest()} " in conf
    assert password not in conf


def test_each_redis_user_is_a_complete_line(tmp_path: Path) -> None:
    conf = ensure(tmp_path / "app", "redis.conf")

    assert [line.split()[:2] for line in conf.splitlines()] == [
        ["user", "default"],
        ["user", "health"],
        ["user", "jobs"],
    ]


def test_two_folders_get_different_secrets(tmp_path: Path) -> None:
    assert ensure(tmp_path / "one", "secret_key") != ensure(tmp_path / "two", "secret_key")


def test_our_own_secrets_are_readable_only_by_their_owner(tmp_path: Path) -> None:
    main([str(tmp_path / "app")])

    assert {mode(file) for file in (tmp_path / "app").iterdir()} == {0o600}


def test_containers_of_other_images_can_read_their_secrets(tmp_path: Path) -> None:
    main([str(tmp_path / "app")])

    assert {mode(file) for file in tmp_path.glob("app-for-*/*")} == {0o644}


def test_django_reads_the_database_url_from_its_file(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    password = ensure(folder, "jobs_password")
    ensure(folder, "database_url")

    settings = environ.FileAwareEnv.db_url_config((folder / "database_url").read_text())

    assert (settings["HOST"], settings["PASSWORD"], settings["NAME"]) == ("db", password, "jobs")


def test_concurrent_writers_agree_on_one_value(tmp_path: Path) -> None:
    seen: list[str] = []
    start = threading.Barrier(8)

    def writer() -> None:
        start.wait()
        seen.append(ensure(tmp_path, "secret_key"))

    threads = [threading.Thread(target=writer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == 8
    assert set(seen) == {(tmp_path / "secret_key").read_text()}
    assert len(list(tmp_path.iterdir())) == 1


def test_generated_secrets_are_named_without_their_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(tmp_path), "secret_key"])
    printed = capsys.readouterr().out

    assert "secret_key" in printed
    assert (tmp_path / "secret_key").read_text() not in printed


def test_an_unknown_name_is_rejected_with_the_known_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path), "sekret_key"])

    assert "no such secret: sekret_key (choose from secret_key," in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_tag_of_composes_image_is_a_digest_of_its_sources_so_that_it_is_built_again_with_them() -> None:
    dockerfile, compose = ((BASE_DIR / name).read_text() for name in ("Dockerfile", "docker-compose.yml"))
    stages = re.search(r"(?ms)^FROM \S+ AS base$.*?^FROM base AS secrets$.*?(?=\n+FROM )", dockerfile)
    assert stages
    sources = [(BASE_DIR / "proj" / name).read_text() for name in ("state.py", "generate_secrets.py")]
    digest = hashlib.sha256("".join([stages[0], *sources]).encode()).hexdigest()[:10]
    assert re.findall(r"image: scheduled-jobs-secrets:\$\{COMPOSE_PROJECT_NAME\}-(\w+)", compose) == [digest]
