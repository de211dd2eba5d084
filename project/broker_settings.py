"""The broker's settings for Celery, by its URL: RabbitMQ, Redis or the embedded filesystem transport."""

import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kombu.transport import TRANSPORT_ALIASES

CONNECT_SECONDS = 2


def broker_settings(
    url: str, *, data_directory: Path, ca_file: str = "", is_tls_verified: bool = True
) -> dict[str, Any]:
    """Return Celery's settings for one broker URL, or for those of several nodes of RabbitMQ.

    With TLS, the broker's certificate has to be for its host name, and from an authority in `ca_file` or, without one,
    from one that the system trusts.
    """
    scheme = urlsplit(url).scheme
    cert_reqs = ssl.CERT_REQUIRED if is_tls_verified else ssl.CERT_NONE
    if scheme == "filesystem":
        TRANSPORT_ALIASES["filesystem"] = "project.filesystem:Transport"
        return {
            "CELERY_BROKER_URL": "filesystem://localhost",
            "CELERY_BROKER_USE_SSL": False,
            "CELERY_BROKER_TRANSPORT_OPTIONS": _filesystem(data_directory / "broker"),
        }
    if scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = "project.redis:Transport"
        tls = {"ssl_cert_reqs": cert_reqs, "ssl_check_hostname": is_tls_verified, "ssl_ca_certs": ca_file or None}
        return {
            "CELERY_BROKER_URL": url,
            "CELERY_BROKER_USE_SSL": tls if scheme == "rediss" else False,
            "CELERY_BROKER_TRANSPORT_OPTIONS": _redis(),
        }
    TRANSPORT_ALIASES["amqps"] = "project.rabbitmq:Transport"
    return {
        "CELERY_BROKER_URL": url,
        "CELERY_BROKER_USE_SSL": {"cert_reqs": cert_reqs, "ca_certs": ca_file or None} if scheme == "amqps" else False,
        "CELERY_BROKER_TRANSPORT_OPTIONS": {
            "confirm_publish": True,
            # For all nodes together. With less, kombu would give up at a silent first node, and then try it again.
            "connect_retries_timeout": CONNECT_SECONDS * len(url.split(";")),
        },
        # In seconds. A node that is silent for two of these counts as lost.
        "CELERY_BROKER_HEARTBEAT": 30,
        **_QUORUM,
    }


# Every queue is a quorum queue, whether it is declared or created when needed. Celery's default for both is classic.
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
        # The default is one second. Each poll is a directory listing; at this interval a message waits 4 to 52 ms.
        "polling_interval": 0.05,
    }


def _redis() -> dict[str, Any]:
    return {
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": 25,
    }
