"""Counts that stay cheap at any size: exact up to a cap, and said to be capped beyond."""

from dataclasses import dataclass

MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Capped:
    """A count of rows of which MOST_COUNTED + 1 were read at most."""

    count: int

    @property
    def is_exact(self) -> bool:
        return self.count <= MOST_COUNTED

    def __str__(self) -> str:
        return f"{self.count:,}" if self.is_exact else f"more than {MOST_COUNTED:,}"

    def __bool__(self) -> bool:
        return self.count > 0
