"""The Celery application's configuration, and the filesystem transport that it is given."""

import threading
from pathlib import Path
from typing import Any

from celery import current_app
from celery.worker import control
from django.conf import settings
from kombu import Connection, Queue

from tests.celery_app import celery_on


def test_a_worker_that_is_asked_for_its_configuration_tells_no_secret() -> None:
    class State:
        app = current_app

    with celery_on("amqp://user:broker-password@127.0.0.1//"):
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
