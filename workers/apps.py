"""The Django app of the workers."""

from django.apps import AppConfig


class WorkersConfig(AppConfig):
    name = "workers"

    def ready(self) -> None:
        from workers import lifecycle

        lifecycle.connect()
