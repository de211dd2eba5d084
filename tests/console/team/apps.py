from django.apps import AppConfig


class TeamConfig(AppConfig):
    name = "tests.console.team"
    label = "team"
