"""The broker's settings for Celery, by its URL: RabbitMQ, Redis or the embedded filesystem transport."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kombu.transport import TRANSPORT_ALIASES


def broker_settings(url: str, *, data_directory: Path) -> dict[str, Any]:
    """Return Celery's settings for one broker URL."""
    scheme = urlsplit(url).scheme
    if scheme == "filesystem":
        TRANSPORT_ALIASES["filesystem"] = "project.filesystem:Transport"
        return {
            "CELERY_BROKER_URL": "filesystem://localhost",
            "CELERY_BROKER_TRANSPORT_OPTIONS": _filesystem(data_directory / "broker"),
        }
    if scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "project.redis:Transport"
        return {"CELERY_BROKER_URL": url, "CELERY_BROKER_TRANSPORT_OPTIONS": _redis()}
    return {
        "CELERY_BROKER_URL": url,
        "CELERY_BROKER_TRANSPORT_OPTIONS": {"confirm_publish": True},
        # Two of these without a sign of life, and a node that has gone without a word is given up.
        "CELERY_BROKER_HEARTBEAT": 30,
        **_QUORUM,
    }


# Every queue is a quorum queue, whether it is declared or created on the way: Celery's default is classic, twice.
_QUORUM: dict[str, Any] = {
    "CELERY_TASK_DEFAULT_QUEUE_TYPE": "quorum",
    "CELERY_TASK_DEFAULT_EXCHANGE_TYPE": "direct",
    "CELERY_TASK_CREATE_MISSING_QUEUE_TYPE": "quorum",
    "CELERY_WORKER_DETECT_QUORUM_QUEUES": True,
}


def _filesystem(folder: Path) -> dict[str, Any]:
    messages = str(folder / "messages")
    return {
        "data_folder_in": messages,
        "data_folder_out": messages,
        "control_folder": str(folder / "control"),
        # The transport's default is a second; this one is a directory listing, and gives 4 to 52 ms of latency.
        "polling_interval": 0.05,
    }


def _redis() -> dict[str, Any]:
    return {
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }
