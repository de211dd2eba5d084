"""Where in a payload anybody looks: the receiver for its subscriptions and its summary, the bundled handlers for rows.

The paths are found out, not listed: from the subscriptions' conditions, and by giving what reads payloads one that
writes down what is asked of it.
"""

import functools
from typing import Any

from django.db import transaction

from tests.fuzz.team import handlers as team
from tests.support.catalog_events import event, payload_of
from webhooks.github.payload import summarise
from webhooks.subscriptions.installed import installed_subscriptions
from webhooks.subscriptions.subscription import Defaults, discover

Path = tuple[str, ...]


class _Noting(dict[str, Any]):
    """An object of a payload that notes which of its members are asked for, and theirs."""

    def __init__(self, value: dict[str, Any], path: Path, asked: set[Path]) -> None:
        self._path, self._asked = path, asked
        super().__init__({key: noting(one, (*path, key), asked) for key, one in value.items()})

    def __getitem__(self, key: str) -> Any:
        self._asked.add((*self._path, key))
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._asked.add((*self._path, str(key)))
        return super().__contains__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self._asked.add((*self._path, key))
        return super().get(key, default)


def noting(value: Any, path: Path, asked: set[Path]) -> Any:
    if isinstance(value, dict):
        return _Noting(value, path, asked)
    return [noting(one, path, asked) for one in value] if isinstance(value, list) else value


@functools.cache
def read_paths() -> tuple[Path, ...]:
    """Return every path that is read, sorted. Needs a migrated database, and leaves nothing in it."""
    asked: set[Path] = set()
    summarise(noting(payload_of("repository"), (), asked))
    declared = discover([("team", team)], defaults=Defaults(queue="default", time_limit=60, max_attempts=1))
    for subscription in (*installed_subscriptions(), *declared):
        asked.update(tuple(path.split(".")) for path in subscription.where)
    for subscription in installed_subscriptions():
        for name in subscription.events:
            with transaction.atomic():
                subscription.handler(event(name, noting(payload_of(name), (), asked)))
                transaction.set_rollback(True)
    return tuple(sorted(asked))
