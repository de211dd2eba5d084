"""The Django app of the example handlers that call GitHub's API. Nothing runs them until HOOKLINE_APPS names it."""

from django.apps import AppConfig


class AssistantConfig(AppConfig):
    name = "workers.assistant"
    label = "assistant"
    verbose_name = "Assistant"
