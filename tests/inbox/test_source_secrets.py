"""Secrets in the database: encrypted, added, retired when nothing needs them, and what is said of each."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from webhooks.encryption import new_key
from webhooks.github.signature import secret_fingerprint
from webhooks.inbox.secrets import changing, reading, uses
from webhooks.inbox.secrets.changing import SecretRefusedError
from webhooks.inbox.secrets.standing import SourceStanding, standing_of
from webhooks.models import Change, SecretUse, Source, SourceSecret

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

GIVEN = "the secret of the environment"
ANOTHER = "another secret, kept in the database"


@pytest.fixture(autouse=True)
def keys(settings: Any) -> list[str]:
    settings.HOOKLINE_SECRETS = {"github": [GIVEN], "ghes": []}
    settings.HOOKLINE_SOURCES = ["github", "ghes"]
    settings.HOOKLINE_ENCRYPTION_KEYS = [new_key()]
    kept: list[str] = settings.HOOKLINE_ENCRYPTION_KEYS
    return kept


def added(source: str = "github", value: str = "", **given: Any) -> SourceSecret:
    return changing.add(source, value or changing.new_secret(), who="ana", **given)


def standing(source: str = "github") -> SourceStanding:
    found = standing_of(source)
    assert found is not None
    return found


def used(
    fingerprint: str, *, ago: timedelta | None, since: timedelta = timedelta(days=40), source: str = "github"
) -> None:
    now = timezone.now()
    values: dict[str, datetime | None] = {"since": now - since, "last_used_at": None if ago is None else now - ago}
    SecretUse.objects.update_or_create(source=source, fingerprint=fingerprint, defaults=values)


def fingerprint(secret: str, settings: Any) -> str:
    return secret_fingerprint(secret, key=settings.SECRET_KEY)


def sentence(fingerprint: str, source: str = "github") -> str:
    found = standing(source)
    [said] = {found.sentence(one) for one in found.secrets if one.fingerprint == fingerprint}
    return said


def in_tables() -> str:
    """Return all that the database holds of secrets, as text."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM webhooks_sourcesecret")
        rows: list[Any] = list(cursor.fetchall())
        cursor.execute("SELECT * FROM webhooks_change")
        rows += cursor.fetchall()
    return repr([[bytes(cell) if isinstance(cell, memoryview) else cell for cell in row] for row in rows])


def test_an_added_secret_is_encrypted_and_read_again() -> None:
    made = added(value=ANOTHER, note="for the App")
    assert ANOTHER not in in_tables()
    [stored] = reading.stored_secrets()
    assert stored.value == ANOTHER
    assert ANOTHER not in repr(stored)
    assert (stored.source, stored.fingerprint, stored.seconds_left) == ("github", made.fingerprint, None)


def test_adding_and_retiring_are_in_the_audit_with_who_and_why() -> None:
    made = added("ghes", note="rotation")
    changing.retire(made.fingerprint, who="ben", reason="the rotation is over", is_forced=True)
    changes = list(Change.objects.order_by("pk").values_list("action", "who", "reason", "scope"))
    assert changes == [
        ("add_secret", "ana", "rotation", f"secret {made.fingerprint} of ghes"),
        ("retire_secret", "ben", "the rotation is over", f"secret {made.fingerprint} of ghes (forced)"),
    ]


@pytest.mark.parametrize(
    ("source", "value", "words"),
    [
        ("gitlab", ANOTHER, "HOOKLINE_SOURCES has github, ghes"),
        ("github", "short", "16 to 500"),
        ("github", "a" * 501, "16 to 500"),
        ("github", " a secret with a blank", "one line"),
        ("github", "a secret\nof two lines", "one line"),
    ],
)
def test_what_cannot_be_a_secret_is_refused_and_not_repeated(source: str, value: str, words: str) -> None:
    with pytest.raises(SecretRefusedError, match=words) as caught:
        added(source, value)
    assert value not in str(caught.value)
    assert not SourceSecret.objects.exists()


def test_a_secret_is_kept_once_for_a_source() -> None:
    added(value=ANOTHER)
    with pytest.raises(SecretRefusedError, match="has this secret already"):
        added(value=ANOTHER)
    added("ghes", ANOTHER)
    assert SourceSecret.objects.count() == 2
    assert Change.objects.count() == 2


def test_without_a_key_nothing_is_kept_and_the_way_out_is_said(settings: Any) -> None:
    settings.HOOKLINE_ENCRYPTION_KEYS = []
    for change in (added, lambda: changing.rotate_keys(who="ana")):
        with pytest.raises(SecretRefusedError, match="openssl rand"):
            change()
    assert not Change.objects.exists()


def test_an_end_must_be_in_the_future() -> None:
    with pytest.raises(SecretRefusedError, match="past"):
        added(not_after=timezone.now() - timedelta(seconds=1))
    added(not_after=timezone.now() + timedelta(days=1))
    [stored] = reading.stored_secrets()
    assert stored.seconds_left == pytest.approx(86_400, abs=600)


def test_a_secret_in_use_is_retired_only_by_force_and_its_value_is_gone() -> None:
    made = added()
    used(made.fingerprint, ago=timedelta(hours=23))
    with pytest.raises(SecretRefusedError, match="used 23 h ago: GitHub still signs with it") as caught:
        changing.retire(made.fingerprint, who="ana")
    assert caught.value.may_be_forced
    changing.retire(made.fingerprint, who="ana", is_forced=True)
    made.refresh_from_db()
    assert bytes(made.value) == b""
    assert made.retired_by == "ana"
    assert reading.stored_secrets() == []
    with pytest.raises(SecretRefusedError, match="retired already"):
        changing.retire(made.fingerprint, who="ana", is_forced=True)


def test_the_only_secret_of_a_source_is_retired_only_by_force() -> None:
    made = added("ghes")
    with pytest.raises(SecretRefusedError, match="only secret of ghes that verifies"):
        changing.retire(made.fingerprint, who="ana")
    other = added("ghes")
    changing.retire(made.fingerprint, who="ana")
    assert [one.fingerprint for one in standing("ghes").current] == [other.fingerprint]


def test_an_ended_secret_does_not_count_as_one_that_verifies() -> None:
    made, ended = added("ghes"), added("ghes", not_after=timezone.now() + timedelta(days=1))
    SourceSecret.objects.filter(pk=ended.pk).update(not_after=timezone.now() - timedelta(minutes=5))
    with pytest.raises(SecretRefusedError, match="only secret"):
        changing.retire(made.fingerprint, who="ana")
    assert sentence(ended.fingerprint, "ghes") == "has ended, and verifies nothing: safe to remove"
    changing.retire(ended.fingerprint, who="ana")


def test_a_secret_that_the_environment_gives_too_may_leave_the_database(settings: Any) -> None:
    made = added(value=GIVEN)
    used(made.fingerprint, ago=timedelta(minutes=1))
    changing.retire(made.fingerprint, who="ana")
    with pytest.raises(SecretRefusedError, match="take it out of GITHUB_WEBHOOK_SECRETS"):
        changing.retire(fingerprint(GIVEN, settings), who="ana", is_forced=True)


def test_the_same_fingerprint_at_two_sources_must_be_told_apart() -> None:
    made = added(value=ANOTHER)
    added("ghes", ANOTHER)
    with pytest.raises(SecretRefusedError, match="--source"):
        changing.retire(made.fingerprint, who="ana", is_forced=True)
    changing.retire(made.fingerprint, source="github", who="ana")
    assert [one.source for one in reading.stored_secrets()] == ["ghes"]


def test_a_new_key_reads_what_the_old_one_wrote_until_it_has_taken_over(settings: Any, keys: list[str]) -> None:
    made = added(value=ANOTHER)
    settings.HOOKLINE_ENCRYPTION_KEYS = [new_key(), *keys]
    assert changing.rotate_keys(who="ana") == (1, [])
    settings.HOOKLINE_ENCRYPTION_KEYS = settings.HOOKLINE_ENCRYPTION_KEYS[:1]
    assert [one.value for one in reading.stored_secrets()] == [ANOTHER]
    assert Change.objects.filter(action="rotate_keys").exists()
    made.refresh_from_db()
    assert ANOTHER not in in_tables()


def test_one_that_no_key_opens_is_named_and_costs_the_others_nothing(settings: Any, keys: list[str]) -> None:
    lost = added("ghes")
    settings.HOOKLINE_ENCRYPTION_KEYS = [new_key()]
    made = added("ghes")
    assert [(one.fingerprint, one.value is None) for one in reading.stored_secrets()] == [
        (lost.fingerprint, True),
        (made.fingerprint, False),
    ]
    assert changing.rotate_keys(who="ana") == (1, [lost.fingerprint])
    found = standing("ghes")
    assert [one.state for one in found.secrets] == ["unreadable", "current"]
    assert any("cannot be decrypted" in warning for warning in found.warnings)
    changing.retire(lost.fingerprint, who="ana")
    settings.HOOKLINE_ENCRYPTION_KEYS = [*settings.HOOKLINE_ENCRYPTION_KEYS, *keys]
    assert [one.fingerprint for one in reading.stored_secrets()] == [made.fingerprint]


def test_a_new_secret_key_gives_new_fingerprints_and_the_old_ones_still_name_a_secret(settings: Any) -> None:
    added("ghes")
    made = added("ghes")
    settings.SECRET_KEY = "another key, of which fingerprints are made" * 2
    assert made.fingerprint not in {one.fingerprint for one in standing("ghes").secrets}
    changing.retire(made.fingerprint, who="ana")
    assert len(standing("ghes").current) == 1


@pytest.mark.parametrize(
    ("ago", "since", "said"),
    [
        (timedelta(minutes=2), timedelta(days=40), "was used 2 min ago: GitHub still signs with it"),
        (timedelta(days=6, minutes=1), timedelta(days=40), "has not matched for 6 d"),
        (None, timedelta(days=10, minutes=1), "has not matched for 10 d"),
        (None, timedelta(minutes=10), "has not matched yet"),
    ],
)
def test_a_sentence_says_whether_github_signs_with_it(ago: timedelta | None, since: timedelta, said: str) -> None:
    made = added()
    used(made.fingerprint, ago=ago, since=since)
    assert sentence(made.fingerprint) == said


def test_a_secret_that_no_receiver_has_read_is_said_to_be_so() -> None:
    assert sentence(added().fingerprint) == "no receiver has it yet"


def test_a_secret_is_safe_to_remove_once_another_one_has_matched_since(settings: Any) -> None:
    made = added()
    old = fingerprint(GIVEN, settings)
    used(old, ago=timedelta(days=6, minutes=1))
    used(made.fingerprint, ago=timedelta(minutes=1))
    assert sentence(old) == "last seen 6 d ago: safe to remove"
    used(made.fingerprint, ago=timedelta(days=7))
    assert sentence(old) == "has not matched for 6 d"


def test_a_new_secret_that_github_was_not_given_yet_is_not_called_safe_to_remove(settings: Any) -> None:
    made = added()
    used(fingerprint(GIVEN, settings), ago=timedelta(minutes=1))
    used(made.fingerprint, ago=None, since=timedelta(days=3, minutes=1))
    assert sentence(made.fingerprint) == "has not matched for 3 d"


def test_warnings_name_what_ends_what_is_silent_and_a_source_without_a_secret(settings: Any) -> None:
    assert standing("ghes").warnings == ["No secret of ghes verifies: its deliveries are refused."]
    made = added("ghes", not_after=timezone.now() + timedelta(days=9, minutes=1))
    assert standing("ghes").fault == "the last secret of ghes ends in 9 d"
    endless = added("ghes")
    assert standing("ghes").fault == ""
    assert standing("ghes").warnings == [f"Secret {made.fingerprint} ends in 9 d."]
    used(endless.fingerprint, ago=timedelta(days=31), source="ghes")
    assert f"Secret {endless.fingerprint} has not matched for 31 d: is it still needed?" in standing("ghes").warnings


def test_a_use_is_noted_where_it_is_later_than_what_is_known(settings: Any) -> None:
    named = ("github", fingerprint(GIVEN, settings))
    uses.note_used({named: 5.0})
    assert not SecretUse.objects.exists()
    uses.note_known([named, named])
    uses.note_known([named])
    uses.note_used({named: 60.0})
    first = uses.uses()[named].last_used_at
    assert first is not None
    assert (timezone.now() - first).total_seconds() == pytest.approx(60, abs=30)
    uses.note_used({named: 600.0})
    assert uses.uses()[named].last_used_at == first
    uses.note_used({named: 1.0})
    later = uses.uses()[named].last_used_at
    assert later is not None
    assert later > first


def test_a_source_that_the_settings_no_longer_name_is_shown_while_it_has_secrets(settings: Any) -> None:
    made = added("ghes")
    settings.HOOKLINE_SOURCES, settings.HOOKLINE_SECRETS = ["github"], {"github": [GIVEN]}
    assert [one.fingerprint for one in standing("ghes").secrets] == [made.fingerprint]
    assert Source.objects.filter(name="ghes").exists()
