"""What the stand-in allows: App tokens signed with the App's key, tokens, calls by the hour, and faults on demand."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

LONGEST_TOKEN_SECONDS = 600
"""https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app"""


class App:
    """A GitHub App with its key pair."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.now: Callable[[], float] = time.time
        self._key = rsa.generate_private_key(public_exponent=65_537, key_size=2048)

    @property
    def private_key(self) -> str:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        ).decode()

    def why_refused(self, token: str) -> str | None:
        """Return what GitHub says to a token that is not this App's, has ended, or is good for too long."""
        try:
            claims = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=["RS256"],
                issuer=str(self.number),
                options={"require": ["iss", "iat", "exp"], "verify_exp": False, "verify_iat": False},
            )
        except jwt.InvalidIssuerError:
            return "'Issuer' claim ('iss') must be an Integer"
        except jwt.InvalidTokenError:
            return "A JSON web token could not be decoded"
        if claims["exp"] <= self.now():
            return "'Expiration time' claim ('exp') is in the past"
        if claims["iat"] > self.now():
            return "'Issued at' claim ('iat') is in the future"
        if claims["exp"] - claims["iat"] > LONGEST_TOKEN_SECONDS:
            return "'Expiration time' claim ('exp') is too far in the future"
        return None


@dataclass(kw_only=True)
class Limit:
    """The primary rate limit: so many calls until it begins anew."""

    limit: int = 5_000
    used: int = 0
    reset_at: float = field(default_factory=lambda: time.time() + 3_600)

    def take(self) -> bool:
        """Count a call; tell whether it is allowed."""
        if time.time() >= self.reset_at:
            self.used, self.reset_at = 0, time.time() + 3_600
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def headers(self) -> dict[str, str]:
        return {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(self.limit - self.used),
            "x-ratelimit-used": str(self.used),
            "x-ratelimit-reset": str(int(self.reset_at)),
            "x-ratelimit-resource": "core",
        }


@dataclass(kw_only=True)
class Fault:
    """How a call ends instead of being answered. `only` is a part of the paths that it is for."""

    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "Server Error"
    is_dropped: bool = False
    """Whether the connection ends without an answer."""
    silent_seconds: float = 0.0
    """How long it waits before it answers as usual."""
    body: bytes | None = None
    only: str = ""
    times: int = 1

    def answer(self) -> dict[str, Any]:
        return {"message": self.message, "documentation_url": "https://docs.github.com/rest"}


def secondary_limit(*, seconds: int, status: int = 403, **values: Any) -> Fault:
    """https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits"""
    message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
    return Fault(status=status, headers={"retry-after": str(seconds)}, message=message, **values)
