"""Counts that stay cheap at any size: exact up to a cap, and said to be capped beyond.

A row that changed since the database's last upkeep costs a look at its page, 5 µs on PostgreSQL: after ten thousand
failures at once, a page that everybody has open counts to FEW.
"""

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

MOST_COUNTED = 10_000
FEW = 1_000


@dataclass(frozen=True, slots=True)
class Capped:
    """A count of rows of which `most` + 1 were read at most."""

    count: int
    most: int

    @property
    def is_exact(self) -> bool:
        return self.count <= self.most

    @property
    def short(self) -> str:
        """Return "1,000+" where the whole reads "more than 1,000"."""
        return f"{self.count:,}" if self.is_exact else f"{self.most:,}+"

    def __str__(self) -> str:
        return f"{self.count:,}" if self.is_exact else f"more than {self.most:,}"

    def __bool__(self) -> bool:
        return self.count > 0


def capped(rows: QuerySet[Any], *, most: int | None = None) -> Capped:
    """Count these rows, MOST_COUNTED at most if nothing else is said."""
    most = MOST_COUNTED if most is None else most
    return Capped(rows[: most + 1].count(), most)
