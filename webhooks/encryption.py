"""Encrypts what the database keeps and may not show: Fernet, by the package cryptography.

The first key encrypts; every key decrypts. So a key is replaced without a break: put the new one first, write what is
stored again, and take the old one out.
"""

from collections.abc import Sequence
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

VARIABLE = "HOOKLINE_ENCRYPTION_KEYS"


class EncryptionError(Exception):
    """What is stored cannot be read with the keys that are given. The message shows neither."""


class HiddenKeys(tuple[str, ...]):
    """Keys that are not shown where settings are: in a report of an error, or by a handler that prints them."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} hidden>"


def new_key() -> str:
    """Return a new key: 32 random bytes in URL-safe Base64."""
    return Fernet.generate_key().decode()


def is_key(text: str) -> bool:
    try:
        Fernet(text)
    except ValueError:
        return False
    return True


def encrypted(plain: bytes, keys: Sequence[str], *, variable: str = VARIABLE) -> bytes:
    """Encrypt with the first key. Raises EncryptionError if there is none; it names the variable of the keys."""
    return _fernet(tuple(keys), variable).encrypt(plain)


def decrypted(token: bytes, keys: Sequence[str], *, variable: str = VARIABLE) -> bytes:
    """Decrypt with whichever key it was encrypted with. Raises EncryptionError if that is none of these."""
    try:
        return _fernet(tuple(keys), variable).decrypt(token)
    except InvalidToken:
        raise EncryptionError(f"It was encrypted with a key that is none of {variable}.") from None


def encrypted_anew(token: bytes, keys: Sequence[str]) -> bytes:
    """Return the same, encrypted with the first key. Raises EncryptionError."""
    return encrypted(decrypted(token, keys), keys)


@lru_cache
def _fernet(keys: tuple[str, ...], variable: str) -> MultiFernet:
    if not keys:
        raise EncryptionError(f"{variable} holds no key.")
    return MultiFernet([Fernet(key) for key in keys])
