"""Encrypts what is secret of a destination, by a key of its own: whoever has it can read no webhook secret."""

from django.conf import settings

from webhooks.encryption import decrypted, encrypted

VARIABLE = "HOOKLINE_DESTINATION_KEYS"
KEYLESS = (
    f"No secret of a destination can be kept: {VARIABLE} holds no key. Make one with "
    "`openssl rand -base64 32 | tr +/ -_`, and give it to every receiver and every worker."
)


def sealed(plain: bytes) -> str:
    """Return what is stored. Raises EncryptionError if there is no key."""
    return encrypted(plain, settings.HOOKLINE_DESTINATION_KEYS, variable=VARIABLE).decode()


def opened(stored: str) -> bytes:
    """Return what was sealed. Raises EncryptionError if its key is gone."""
    return decrypted(stored.encode(), settings.HOOKLINE_DESTINATION_KEYS, variable=VARIABLE)
