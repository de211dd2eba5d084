"""The short form of `make runtime-test`: what it looks for is found where it stands, and what is missing is told."""

import sys
from pathlib import Path

import pytest
from kombu import transport

from tests.runtime import names


def test_every_name_that_hookline_uses_can_be_imported_here() -> None:
    assert list(names.missing_names()) == []


def test_names_are_found_in_code_in_settings_in_celery_and_in_what_is_installed() -> None:
    assert {"webhooks.publishing.relay", "workers.management.commands.worker", "deploy.startup"} <= set(
        names.own_modules()
    )
    # Inside of a function.
    assert "project.broker_settings:broker_settings" in set(names.own_imports())
    assert {
        "webhooks.receiver.middleware.MachinePages",
        "pythonjsonlogger.json.JsonFormatter",
        "django.template.backends.django.DjangoTemplates",
        "project.rsgi:application",
        "django.db.backends.postgresql.base",
    } <= set(names.named_in_settings())
    assert {
        "workers.runs.consumer:Consumer",
        "celery.worker.components:Pool",
        "celery.worker.strategy:default",
        "celery.concurrency.prefork:TaskPool",
    } <= set(names.named_in_celery())
    assert "flower.command:flower" in set(names.plugins())


@pytest.mark.parametrize("name", ["no_such_package.part", "celery.no_such_part", "celery:no_such_name"])
def test_a_name_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises((ImportError, AttributeError)):
        names.resolve(name)


def test_a_transport_that_imports_what_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("project.redis", "kombu.transport.redis"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr(transport, "redis", raising=False)
    monkeypatch.setattr(transport, "_transport_cache", {})
    monkeypatch.setitem(sys.modules, "packaging.version", None)
    first, second = names.missing_transports()
    assert first.startswith("redis:// has no transport: ModuleNotFoundError: import of packaging.version")
    assert second.startswith("rediss:// has no transport: ")


def test_a_package_that_the_lock_file_does_not_name_is_told(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("django==5.2 \\\n    --hash=sha256:0\nPython.JSON_logger==4 ; sys_platform == 'linux' \\\n")
    unlocked = names.unlocked_packages(lock)
    assert {"pytest", "celery"} <= unlocked
    assert not {"pip", "django", "python-json-logger"} & unlocked
