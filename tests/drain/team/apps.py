"""The Django app. Its label stands in the handlers' names."""

from django.apps import AppConfig


class TeamConfig(AppConfig):
    name = "tests.drain.team"
    label = "drain"
