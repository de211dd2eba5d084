"""The Celery application's configuration, and the filesystem transport that it is given."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import current_app
from celery.worker import control
from django.conf import settings
from kombu import Connection, Queue
from kombu.transport import TRANSPORT_ALIASES

import project.redis
from tests.support.celery_app import celery_on
from webhooks.subscriptions.installed import installed_subscriptions
from workers.runs.registration import configure


def test_a_worker_that_is_asked_for_its_configuration_tells_no_secret() -> None:
    class State:
        app = current_app

    with celery_on("amqp://user:broker-password@127.0.0.1//;amqp://user:broker-password@127.0.0.2//"):
        told = str(control.conf(State(), with_defaults=True))  # type: ignore[attr-defined]
    assert "task_default_queue" in told
    secrets = [settings.SECRET_KEY, settings.HOOKLINE_OPERATOR_PASSWORD, *settings.HOOKLINE_SECRETS["github"]]
    assert [secret for secret in [*secrets, "broker-password"] if secret in told] == []


def test_a_message_on_the_filesystem_transport_is_whole_or_not_there(tmp_path: Path) -> None:
    options = {
        "data_folder_in": str(tmp_path),
        "data_folder_out": str(tmp_path),
        "control_folder": tmp_path / "control",
    }
    body = {"text": "x" * 20_000}
    sent, taken = 300, 0

    def send() -> None:
        with Connection("filesystem://localhost", transport_options=options) as connection:
            producer = connection.Producer()
            for _ in range(sent):
                producer.publish(body, exchange="", routing_key="q", serializer="json")

    sender = threading.Thread(target=send)
    sender.start()
    with Connection("filesystem://localhost", transport_options=options) as connection:
        channel: Any = connection.channel()
        queue = Queue("q", channel=channel, no_declare=True)
        while sender.is_alive() or taken < sent:
            if message := queue.get(no_ack=True):
                assert message.payload == body
                taken += 1
    sender.join()


def test_a_redis_channel_whose_connection_has_gone_says_so_as_a_connection_error() -> None:
    """What Celery passes over as it closes a lost connection; anything else ends the worker."""
    channel: Any = project.redis.Channel.__new__(project.redis.Channel)
    for connection in (None, SimpleNamespace(client=None)):
        channel.connection = connection
        with pytest.raises(redis.exceptions.ConnectionError):
            channel._connparams()


def test_redis_leaves_a_message_to_a_worker_for_longer_than_two_runs_take() -> None:
    with celery_on("redis://127.0.0.1:6379/15"):
        configure(current_app._get_current_object())  # type: ignore[attr-defined]
        longest = max(subscription.time_limit for subscription in installed_subscriptions())
        assert current_app.conf.broker_transport_options["visibility_timeout"] > 2 * longest
        assert TRANSPORT_ALIASES["redis"] == "project.redis:Transport"
