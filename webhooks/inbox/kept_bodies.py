"""How a delivery's body stands in the database: as it is, or compressed and encrypted. Both may be there side by side.

An encrypted body begins with a byte that is in no clear one: the receiver stores only JSON and forms, and no text in
UTF-8 has it. So nothing else has to say which a row is, and no row is written again to begin with encryption.

    3 bytes    the mark
    1 byte     the version of what follows
    4 bytes    which key: the start of a hash of it, to find what another key has encrypted
    the rest   a Fernet token in binary, of the body compressed by zlib: https://github.com/fernet/spec

It hides what a body says from those who read the database or its backups. It does not hide how long a body is, and it
does not tell whether somebody who can write to the database has put one row's body into another.
"""

import hashlib
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache

from django.conf import settings

from webhooks.encryption import EncryptionError, decrypted, encrypted

VARIABLE = "HOOKLINE_PAYLOAD_KEYS"
MARK = b"\xffHK"
_VERSION = b"\x01"
_KEY_ID_BYTES = 4
HEAD_BYTES = len(MARK + _VERSION) + _KEY_ID_BYTES
"""So many first bytes tell whether a body is encrypted, and with which key."""
_LEVEL = 1
"""zlib's quickest: what takes longer saves another tenth of GitHub's JSON."""


class UnreadableBodyError(Exception):
    """A stored body cannot be read with the keys that this process has. The message is for an operator."""


def kept(body: bytes) -> bytes:
    """Return what is to be stored of a body."""
    return sealed(body) if settings.HOOKLINE_ENCRYPT_PAYLOADS else body


def sealed(body: bytes) -> bytes:
    """Return a body compressed and encrypted with the first key."""
    keys = settings.HOOKLINE_PAYLOAD_KEYS
    token = encrypted(zlib.compress(body, _LEVEL), keys, variable=VARIABLE)
    return MARK + _VERSION + key_id(keys[0]) + urlsafe_b64decode(token)  # A third shorter than the token's text.


def opened(stored: bytes, *, longest: int = 0) -> bytes:
    """Return the body that is stored so; only its first bytes if `longest` is given. Raises UnreadableBodyError."""
    if not is_sealed(stored):
        return stored[:longest] if longest else stored
    if not stored.startswith(MARK + _VERSION):
        raise UnreadableBodyError("The payload was encrypted by a later release of Hookline.")
    try:
        plain = decrypted(urlsafe_b64encode(stored[HEAD_BYTES:]), settings.HOOKLINE_PAYLOAD_KEYS, variable=VARIABLE)
    except EncryptionError:
        raise UnreadableBodyError(
            f"The payload is encrypted, and {VARIABLE} of this process holds no key for it."
        ) from None
    return zlib.decompressobj().decompress(plain, longest)


def is_sealed(start: bytes) -> bool:
    """Tell by its first bytes whether a stored body is encrypted."""
    return start.startswith(MARK)


def is_current(head: bytes) -> bool:
    """Tell by its first HEAD_BYTES whether a stored body is encrypted with the first key."""
    return head[:HEAD_BYTES] == MARK + _VERSION + key_id(settings.HOOKLINE_PAYLOAD_KEYS[0])


@lru_cache
def key_id(key: str) -> bytes:
    """Return what names a key in what it has encrypted. It tells nothing of the key, which is random."""
    return hashlib.sha256(b"hookline.kept-bodies" + key.encode()).digest()[:_KEY_ID_BYTES]
