"""A RabbitMQ node of the suite's own: its own name, ports, cookie, data and port mapper, next to whatever else runs."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import kombu
from kombu.exceptions import OperationalError

from tests.faults.servers import OwnProcess, own_directory, stable_port
from tests.support.processes import wait_until

QUEUES = ("default", "team")


class OwnRabbitMQ:
    """One node. `consumer_timeout_ms` is how long a message may wait for its acknowledgement; RabbitMQ's is 30 min."""

    name = "rabbitmq"

    def __init__(
        self,
        directory: Path,
        *,
        address: str = "127.0.0.1",
        consumer_timeout_ms: int | None = None,
        settings: Sequence[str] = (),
    ) -> None:
        self._directory, self._address = directory, address
        self._port = stable_port()
        self._own = OwnProcess(directory)
        self._mapper = OwnProcess(directory)
        self.freeze, self.thaw = self._own.freeze, self._own.thaw
        own = [f"consumer_timeout = {consumer_timeout_ms}"] if consumer_timeout_ms else []
        self._environment = self._prepare([*own, *settings])

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@{self._address}:{self._port}//"

    def start(self) -> None:
        """Start the node, and wait until it takes connections."""
        self._own.launch(rabbitmq_program("rabbitmq-server"), environment=self._environment)
        wait_until(self._answers, what="RabbitMQ to answer")

    def stop(self) -> None:
        """Stop the node in an orderly way; quorum queues keep what they hold."""
        self._own.end(signal.SIGTERM)

    def start_mapper(self) -> None:
        """Start Erlang's port mapper, which a node would otherwise start for itself and leave behind."""
        program = shutil.which("epmd")
        assert program
        self._mapper.launch(program, "-address", "127.0.0.1", "-port", self._environment["ERL_EPMD_PORT"])

    def stop_mapper(self) -> None:
        self._mapper.end()

    def depth(self, queue: str) -> int:
        with self._channel() as channel:
            try:
                return int(channel.queue_declare(queue, passive=True).message_count)
            except channel.connection.channel_errors:
                return 0

    def empty(self) -> None:
        with self._channel() as channel:
            for queue in QUEUES:
                channel.queue_purge(queue)

    def reset(self) -> None:
        with self._channel() as channel:
            for queue in QUEUES:
                channel.queue_delete(queue)

    def cut(self) -> None:
        self.control("close_all_connections", "a fault that a test brings about")

    def control(self, *arguments: str) -> None:
        program = rabbitmq_program("rabbitmqctl")
        subprocess.run([program, *arguments], env=self._environment, check=True, capture_output=True, timeout=60)

    @contextlib.contextmanager
    def _channel(self) -> Iterator[Any]:
        with kombu.Connection(self.url, connect_timeout=5) as connection:
            yield connection.default_channel

    def _answers(self) -> bool:
        try:
            with self._channel() as channel:
                return bool(channel)
        except (OperationalError, OSError):
            return False

    def _prepare(self, further: Sequence[str]) -> dict[str, str]:
        """Write the configuration, and return the environment of the node and of its tools."""
        settings = [f"listeners.tcp.own = {self._address}:{self._port}", "disk_free_limit.absolute = 1MB", *further]
        if self._address != "127.0.0.1":
            settings.append("loopback_users = none")  # The user guest may come from elsewhere.
        (self._directory / "rabbitmq.conf").write_text("\n".join([*settings, ""]))
        # How often a channel looks at the timeout has no name in the new format. Its default is a minute.
        (self._directory / "advanced.config").write_text("[{rabbit, [{channel_tick_interval, 1000}]}].\n")
        (self._directory / "plugins").write_text("[].\n")
        for folder in ("home", "data", "log"):
            (self._directory / folder).mkdir()
        return os.environ | {
            "HOME": str(self._directory / "home"),  # The cookie's place.
            "ERL_EPMD_PORT": str(stable_port()),
            "RABBITMQ_NODENAME": f"hookline-faults-{self._port}@localhost",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(stable_port()),
            "RABBITMQ_MNESIA_BASE": str(self._directory / "data"),
            "RABBITMQ_LOG_BASE": str(self._directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(self._directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._directory / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._directory / "plugins"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
            # Has the start script become the node, instead of a shell that waits for it.
            "NOTIFY_SOCKET": str(self._directory / "nobody-listens"),
        }


def rabbitmq_program(name: str) -> str:
    """Return a program's path, or "" where RabbitMQ is not installed. Debian's wrappers in PATH change the user."""
    places = sorted(Path("/usr/lib/rabbitmq/lib").glob(f"rabbitmq_server-*/sbin/{name}"))
    return str(places[-1]) if places else shutil.which(name) or ""


@contextlib.contextmanager
def own_rabbitmq(
    *, address: str = "127.0.0.1", consumer_timeout_ms: int | None = None, settings: Sequence[str] = ()
) -> Iterator[OwnRabbitMQ]:
    with own_directory() as directory:
        node = OwnRabbitMQ(directory, address=address, consumer_timeout_ms=consumer_timeout_ms, settings=settings)
        try:
            node.start_mapper()
            node.start()
            yield node
        finally:
            node.stop()
            node.stop_mapper()
