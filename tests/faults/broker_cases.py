"""Faults of the broker: stopped, silent, emptied, disconnected, impatient."""

import time

from tests.faults.fleet import CHILDREN, WORKERS
from tests.faults.load import BUILD, LONG_CHECK
from tests.faults.rabbitmq import QUEUES
from tests.faults.scene import Case, Scene

BACKLOG = 250
IDLE_SECONDS = 180.0
CONSUMER_TIMEOUT_MS = 3_000


def stop_the_broker(scene: Scene) -> None:
    scene.broker.stop()
    scene.hold()
    scene.broker.start()


def freeze_the_broker(scene: Scene) -> None:
    """Up, its connections open, and silent."""
    scene.broker.freeze()
    scene.hold()
    scene.broker.thaw()


def empty_the_broker(scene: Scene) -> None:
    """Lose a backlog, not just what is passing through."""
    scene.load.burst(BACKLOG, BUILD, seconds=0.3)
    deadline = time.monotonic() + 10
    while (depth := sum(map(scene.broker.depth, QUEUES))) < BACKLOG // 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    scene.broker.empty()
    scene.note(f"{depth} messages lost")
    scene.require(depth, "there was no backlog to lose")


def cut_the_connections(scene: Scene) -> None:
    scene.load.burst(10, BUILD, seconds=2)
    time.sleep(0.5)  # Until these run.
    scene.broker.cut()


def stop_the_broker_in_a_long_idleness(scene: Scene) -> None:
    time.sleep(IDLE_SECONDS / 2)
    stop_the_broker(scene)
    time.sleep(IDLE_SECONDS / 2)


def outlast_the_consumer_timeout(scene: Scene) -> None:
    """Keep every child busy for longer than RabbitMQ waits for the messages that were prefetched behind them."""
    scene.load.burst(3 * CHILDREN * WORKERS, LONG_CHECK, seconds=3 * CONSUMER_TIMEOUT_MS / 1000)
    time.sleep(3 * CONSUMER_TIMEOUT_MS / 1000)
    scene.lift()
    scene.afterwards.append(lambda _: _timeout_was_hit(scene))


def _timeout_was_hit(scene: Scene) -> None:
    hits = scene.fleet.logs().count("PRECONDITION_FAILED - delivery acknowledgement")
    scene.note(f"RabbitMQ closed a channel for its timeout {hits} times")


CASES = (
    Case(number=10, name="broker stopped, workers busy", bring_about=stop_the_broker),
    Case(number=10, name="broker stopped, workers idle", bring_about=stop_the_broker, is_idle=True),
    Case(number=11, name="broker up but silent", bring_about=freeze_the_broker),
    Case(number=12, name="broker emptied with a backlog in it", bring_about=empty_the_broker),
    Case(number=13, name="broker's connections cut", bring_about=cut_the_connections),
    Case(
        number=22,
        name="consumer_timeout below a handler's time",
        bring_about=outlast_the_consumer_timeout,
        brokers=("rabbitmq",),
        consumer_timeout_ms=CONSUMER_TIMEOUT_MS,
        share=0.3,
    ),
    Case(
        number=25,
        name="idle for minutes, broker restarted",
        bring_about=stop_the_broker_in_a_long_idleness,
        is_idle=True,
    ),
)
