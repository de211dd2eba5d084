"""`manage.py secrets`: what it prints where, in which form, and with what it refuses."""

import io
import json
import sys
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from webhooks.encryption import new_key
from webhooks.inbox.secrets import changing, reading
from webhooks.models import Change, SourceSecret

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def sources(settings: Any) -> None:
    settings.HOOKLINE_SECRETS = {"github": ["the secret of the environment"]}
    settings.HOOKLINE_SOURCES = ["github"]
    settings.HOOKLINE_ENCRYPTION_KEYS = [new_key()]


def run(*arguments: str) -> tuple[str, str]:
    """Return what the command printed on stdout and on stderr."""
    out, err = io.StringIO(), io.StringIO()
    call_command("secrets", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_a_new_secret_is_all_that_stdout_has() -> None:
    out, err = run("add", "--note", "rotation", "--not-after", "2199-01-01")
    [stored] = reading.stored_secrets()
    assert out == f"{stored.value}\n"
    assert f"Kept as {stored.fingerprint} for github until 2199-01-01" in err
    assert out.strip() not in err
    assert SourceSecret.objects.get().note == "rotation"


def test_a_secret_from_stdin_is_kept_and_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a secret that GitHub has already\n"))
    out, err = run("add", "--stdin")
    assert out == ""
    assert "GitHub has already" not in err
    assert reading.stored_secrets()[0].value == "a secret that GitHub has already"


@pytest.mark.parametrize("columns", ["60", "100"])
def test_the_table_fits_the_terminal_and_the_sentences_follow_it(monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    made = changing.add("github", changing.new_secret(), who="ana")
    out, _ = run("list")
    assert max(map(len, out.splitlines())) <= int(columns)
    assert [line.split()[1] for line in out.splitlines()[1:3]][1] == made.fingerprint
    assert f"{made.fingerprint}: no receiver has it yet" in out


def test_the_list_for_scripts_has_each_secret_and_no_value() -> None:
    value = changing.new_secret()
    made = changing.add("github", value, who="ana", note="rotation")
    out, _ = run("list", "--format", "json")
    [source] = json.loads(out)
    assert [one["from"] for one in source["secrets"]] == ["environment", "database"]
    kept = source["secrets"][1]
    assert (kept["fingerprint"], kept["note"], kept["state"]) == (made.fingerprint, "rotation", "current")
    assert value not in out


def test_retiring_says_so_and_rotating_says_how_many() -> None:
    made = changing.add("github", changing.new_secret(), who="ana")
    assert "Encrypted 1 secret with the first key." in run("rotate-keys")[0]
    assert f"Retired {made.fingerprint} of github" in run("retire", made.fingerprint, "--reason", "leaked")[0]
    assert Change.objects.latest("pk").reason == "leaked"


def test_what_is_refused_is_said_with_the_way_out(settings: Any) -> None:
    made = changing.add("github", changing.new_secret(), who="ana")
    settings.HOOKLINE_SECRETS = {"github": []}
    with pytest.raises(CommandError, match=r"only secret of github .* With --force"):
        run("retire", made.fingerprint)
    settings.HOOKLINE_ENCRYPTION_KEYS = [new_key()]
    with pytest.raises(CommandError, match=f"Cannot be decrypted with any key: {made.fingerprint}"):
        run("rotate-keys")
    settings.HOOKLINE_ENCRYPTION_KEYS = []
    with pytest.raises(CommandError, match="openssl rand"):
        run("add")
    settings.HOOKLINE_SOURCES = ["github", "ghes"]
    with pytest.raises(CommandError, match="--source: github, ghes"):
        run("add")
    with pytest.raises(CommandError, match="no source gitlab"):
        run("list", "--source", "gitlab")
