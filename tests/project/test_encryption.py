"""What is stored encrypted: read with any of the keys, written with the first."""

import pytest

from webhooks.encryption import EncryptionError, decrypted, encrypted, encrypted_anew, is_key, new_key


def test_a_key_is_replaced_without_a_break() -> None:
    old, new = new_key(), new_key()
    assert is_key(new)
    stored = encrypted(b"a secret", [old])
    assert b"a secret" not in stored
    assert decrypted(stored, [new, old]) == b"a secret"
    assert decrypted(encrypted_anew(stored, [new, old]), [new]) == b"a secret"


def test_another_key_is_an_error_that_shows_nothing() -> None:
    key = new_key()
    stored = encrypted(b"a secret", [key])
    with pytest.raises(EncryptionError, match="none of HOOKLINE_ENCRYPTION_KEYS") as caught:
        decrypted(stored, [new_key()])
    assert key not in str(caught.value)
    assert stored.decode() not in str(caught.value)


def test_without_a_key_nothing_is_encrypted() -> None:
    with pytest.raises(EncryptionError, match="holds no key"):
        encrypted(b"a secret", [])


@pytest.mark.parametrize("text", ["", "short", "x" * 44, "A" * 48, "ä" * 44])
def test_what_is_no_key(text: str) -> None:
    assert not is_key(text)
