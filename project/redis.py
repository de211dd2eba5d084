"""kombu's Redis transport, which survives a restart of Redis.

kombu 5.7.0 closes a channel after its connection is lost, and asks the lost connection for its address in order to give
back unacknowledged messages. That raises an AttributeError, which nothing catches and which ends the worker.
docs/decisions/0005-redis-restarts.md has the figures.
"""

from typing import Any

from kombu.transport import redis
from redis.exceptions import ConnectionError as RedisConnectionError


class Channel(redis.Channel):
    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Raise the error for a lost connection that kombu and Celery expect."""
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("The connection to Redis has been closed.")
        params: dict[str, Any] = super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]  # The stubs lack it.
        return params


class Transport(redis.Transport):
    Channel = Channel
