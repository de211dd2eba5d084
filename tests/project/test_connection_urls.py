"""URLs are read whole as a process starts: what was not percent-encoded is refused, and no part of it is shown."""

from collections.abc import Callable
from pathlib import Path

import pytest
from environs import ValidationError
from kombu.utils.url import parse_url

from project.environment import broker_url, database
from tests.support.processes import manage

SECRET = "Sup3r"
ODD = "#/?@:;%[]&=+ \"'\\é"
"""What a password may hold."""


@pytest.mark.parametrize(
    "after_the_scheme",
    [
        f"u:{SECRET}#x@h/v",
        f"u:12#{SECRET}@h/v",
        f"u:{SECRET}/x@h/v",
        f"u:12/{SECRET}@h/v",
        f"u:{SECRET}?x@h/v",
        f"u:12?{SECRET}@h/v",
        f"u:{SECRET}@x@h/v",
        f"u#{SECRET}:12@h/v",
        f"u:{SECRET}%@h/v",
        f"u:{SECRET}%zz@h/v",
        f"u:{SECRET}%ff@h/v",
        f"u:{SECRET}%00@h/v",
        f"u:{SECRET}\n@h/v",
        f"u:{SECRET}[@h/v",
        f"u:{SECRET}]@h/v",
        f"u:x@h:{SECRET}/v",
        "u:x@h:/v",
        "u:x@h:0/v",
        "u:x@h:65536/v",
        "u:x@[::1/v",
        f"u:x@h/v#{SECRET}",
        f"{SECRET}@h/v%2",
    ],
)
def test_what_is_not_percent_encoded_is_refused_in_one_sentence_that_shows_nothing(after_the_scheme: str) -> None:
    parsers: dict[str, Callable[[str], object]] = {
        **dict.fromkeys(("amqp", "amqps", "redis"), broker_url),
        "postgres": database,
    }
    for scheme, parse in parsers.items():
        with pytest.raises(ValidationError, match="percent-encode") as refused:
            parse(f"{scheme}://{after_the_scheme}")
        assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        f"u:{SECRET}@h",
        f"amqp:u:{SECRET}@h//",
        f"amqp://u:{SECRET};x@h//",
        f"amqp://u:{SECRET}@h//;u:{SECRET}@i//",
        f"amqp://u:{SECRET}@/v",
        "amqp://",
        f"amqp://u:{SECRET}@h,i/v",
        f"amqp://u:{SECRET}@h..i/v",
        f"amqp://u:{SECRET}@{'h' * 64}/v",
        f"amqp://u:{SECRET}@h/v?{SECRET}=1",
        "amqps://u:x@h/v?ssl_cert_reqs=none",
        "rediss://h/0?ssl_cert_reqs=none",
        f"redis://h/{SECRET}",
        "redis://h//0",
        "redis://h///0",
        "redis://h/0/",
        f"redis://h/{10**400}",
        f"redis://h/0;redis://:{SECRET}@i/0",
        f"amqp://h//;amqps://u:{SECRET}@i//",
        f"filesystem://{SECRET}",
        "filesystem://;filesystem://",
        f"sentinel://{SECRET}",
        "",
        ";",
    ],
)
def test_a_broker_that_could_never_be_reached_as_meant_is_refused(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        broker_url(url)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgres://u:{SECRET}@h",
        f"postgres://u:{SECRET}@h/",
        f"postgres://u:{SECRET}@h/name?ssl_mode=require",
        f"postgres://u:{SECRET}@h/name?sslmode=require&sslmode=disable",
        f"postgres://u:{SECRET}@h/name?connect_timeout=soon",
        f"postgres://u:{SECRET}@h/name?isolation_level=serializable",
        f"postgres://u:{SECRET}@h/name?pool=true",
        f"postgres://u:{SECRET}@h:1,i:2/name",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////",
        f"sqlite:////dev/null/{SECRET}/hookline.sqlite3",
        f"sqlite:///{SECRET}?mode=ro",
        f"sqlite:///{SECRET}?timeout=soon",
        f"sqlite:///{SECRET}?transaction_mode=DEFERRED",
        f"sqlite:///{SECRET}?init_command=PRAGMA",
        f"mysql://u:{SECRET}@h/name",
    ],
)
def test_a_database_that_could_never_be_reached_as_meant_is_refused(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        database(url)
    assert SECRET not in str(refused.value)


def test_what_is_percent_encoded_arrives_as_it_was() -> None:
    encoded = "".join(f"%{byte:02X}" for byte in ODD.encode())
    broker = parse_url(broker_url(f"amqp://{encoded}:{encoded}@h.example.com:5673/{encoded}"))
    assert (broker["userid"], broker["password"], broker["virtual_host"]) == (ODD, ODD, ODD)
    assert (broker["hostname"], broker["port"]) == ("h.example.com", 5673)
    settings = database(f"postgres://{encoded}:{encoded}@h/{encoded}?sslmode=verify-full&sslrootcert=/ca.pem")
    assert (settings["USER"], settings["PASSWORD"], settings["NAME"]) == (ODD, ODD, ODD)
    assert settings["OPTIONS"].items() >= {"sslmode": "verify-full", "sslrootcert": "/ca.pem"}.items()


@pytest.mark.parametrize(
    "url",
    [
        "amqp://localhost//",
        "amqp://u:p:w@h/a/b",
        "amqps://u:x@[::1]:5671//",
        "amqp://a;amqp://b:5673;amqp://u:x@c//",
        "redis://:x@h:6379/0",
        "redis://h_1.example.com",
        "rediss://h/",
        "filesystem://",
    ],
)
def test_a_broker_as_people_write_it_is_taken(url: str) -> None:
    assert broker_url(url) == url


@pytest.mark.parametrize(
    "url",
    ["postgres:///name", "postgresql://u@%2Frun%2Fpostgresql/name", "postgres://h/?service=x", "postgres://h,i/n"],
)
def test_a_database_as_people_write_it_is_taken(url: str) -> None:
    assert database(url)["ENGINE"] == "django.db.backends.postgresql"


def test_a_pooled_database_is_asked_for_nothing_that_outlasts_a_transaction() -> None:
    url = "postgres://u@h/name?options=-c%20plan_cache_mode%3Dauto"
    direct, pooled = database(url), database("postgres://u@h/name", is_pooled=True)
    assert direct["OPTIONS"]["prepare_threshold"] == 5
    assert direct["OPTIONS"]["options"] == "-c plan_cache_mode=force_custom_plan -c plan_cache_mode=auto"
    assert direct["DISABLE_SERVER_SIDE_CURSORS"] is False
    assert pooled["DISABLE_SERVER_SIDE_CURSORS"] is True
    assert pooled["OPTIONS"].keys() & {"prepare_threshold", "options"} == set()
    with pytest.raises(ValidationError, match="assume_role"):
        database("postgres://u@h/name?assume_role=owner", is_pooled=True)


def test_sqlite_may_wait_for_another_writer_as_long_as_the_url_says(tmp_path: Path) -> None:
    options = database(f"sqlite:///{tmp_path}/new/hookline.sqlite3?timeout=5")["OPTIONS"]
    assert (options["timeout"], options["transaction_mode"]) == (5, "IMMEDIATE")


def test_blanks_between_nodes_and_a_semicolon_too_many_do_not_matter() -> None:
    assert broker_url(" amqp://a ; amqp://b;\n") == "amqp://a;amqp://b"


@pytest.mark.parametrize("suffix", ["", "_FILE"])
def test_the_start_is_refused_in_one_sentence_and_the_secret_is_not_in_it(tmp_path: Path, suffix: str) -> None:
    url = f"amqp://u:{SECRET}#Secret@h//"
    (tmp_path / "url").write_text(url)
    given = {f"BROKER_URL{suffix}": tmp_path / "url" if suffix else url}
    ended = manage("check", HOOKLINE_DATA_DIR=tmp_path / "data", **given)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("hookline: BROKER_URL: ")
    assert ended.stderr.count("\n") == 1
    assert "percent-encode" in ended.stderr
    assert not [part for part in (SECRET, "Secret") if part in ended.stderr]


def test_the_embedded_database_is_in_its_directory_whatever_that_is_called(tmp_path: Path) -> None:
    directory = tmp_path / "my data #1 50%25?"
    question = "from django.conf import settings; print(settings.DATABASES['default']['NAME'])"
    ended = manage("shell", "-v0", "-c", question, HOOKLINE_DATA_DIR=directory)
    assert ended.stdout.strip() == str(directory / "hookline.sqlite3")
