"""GitHub's signature: what counts as signed, and what tells secrets apart."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks.github.signature import PREFIX, matching_secret, secret_fingerprint, sign

BODY = b'{"zen": "Keep it logically awesome."}'
OLD, NEW = "the old secret of the hook", "the new secret of the hook"

secrets = st.text(min_size=1)


def test_the_example_in_githubs_documentation_holds() -> None:
    # https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert sign(b"Hello, World!", "It's a Secret to Everybody") == expected


@given(body=st.binary(), secret=secrets)
def test_what_a_secret_signed_matches_that_secret(body: bytes, secret: str) -> None:
    assert matching_secret(body, sign(body, secret), [secret]) == secret


@given(body=st.binary(), other=st.binary(), secret=secrets, other_secret=secrets)
def test_a_signature_fits_no_other_body_and_no_other_secret(
    body: bytes, other: bytes, secret: str, other_secret: str
) -> None:
    signature = sign(body, secret)
    assert matching_secret(other, signature, [secret]) == (secret if other == body else None)
    # HMAC pads a key with zeros and hashes a long one, so that two texts may be one key.
    if sign(b"", secret) != sign(b"", other_secret):
        assert matching_secret(body, signature, [other_secret]) is None


@pytest.mark.parametrize("secrets_in_turn", [[OLD, NEW], [NEW, OLD]])
def test_each_of_several_secrets_counts_wherever_it_stands(secrets_in_turn: list[str]) -> None:
    assert matching_secret(BODY, sign(BODY, NEW), secrets_in_turn) == NEW
    assert matching_secret(BODY, sign(BODY, OLD), secrets_in_turn) == OLD


def test_a_secret_given_twice_matches_once() -> None:
    assert matching_secret(BODY, sign(BODY, NEW), [NEW, NEW]) == NEW


def test_nothing_matches_where_there_is_no_secret() -> None:
    assert matching_secret(BODY, sign(BODY, NEW), []) is None


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        PREFIX,
        sign(BODY, NEW).removeprefix(PREFIX),
        sign(BODY, NEW).upper(),
        PREFIX + sign(BODY, NEW).removeprefix(PREFIX).upper(),
        sign(BODY, NEW) + "\n",
        " " + sign(BODY, NEW),
        sign(BODY, NEW) + "00",
        sign(BODY, NEW)[:-1],
        f"{sign(BODY, NEW)},{sign(BODY, NEW)}",
        "sha256=" + "é" * 64,
        "sha1=" + hmac.new(NEW.encode(), BODY, hashlib.sha1).hexdigest(),
    ],
)
def test_a_missing_or_malformed_signature_matches_nothing(signature: str | None) -> None:
    assert matching_secret(BODY, signature, [NEW]) is None


@given(signature=st.text())
def test_no_text_whatever_raises(signature: str) -> None:
    assert matching_secret(BODY, signature, [NEW]) is None


def test_fingerprints_tell_secrets_apart_and_depend_on_the_installation() -> None:
    assert secret_fingerprint(OLD, key="one") == secret_fingerprint(OLD, key="one")
    assert (
        len(
            {secret_fingerprint(OLD, key="one"), secret_fingerprint(NEW, key="one"), secret_fingerprint(OLD, key="two")}
        )
        == 3
    )


@given(secret=secrets, key=secrets)
def test_a_fingerprint_is_twelve_hex_digits(secret: str, key: str) -> None:
    found = secret_fingerprint(secret, key=key)
    assert len(found) == 12
    assert set(found) <= set("0123456789abcdef")
