"""The Django app of the workers."""

from django.apps import AppConfig


class WorkersConfig(AppConfig):
    name = "workers"

    def ready(self) -> None:
        from workers import hooks
        from workers.stopping import checks  # noqa: F401  Importing the checks registers them.

        hooks.connect()
