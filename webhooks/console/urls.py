"""The console's paths. Each page brings its own."""

from importlib import import_module

from django.urls import URLPattern

from webhooks.console import sign_in
from webhooks.console.navigation import MENU
from webhooks.console.pages import tokens

app_name = "console"
urlpatterns: list[URLPattern] = [
    *sign_in.urlpatterns,
    *tokens.urlpatterns,  # In the user's menu.
    *(pattern for entry in MENU for pattern in import_module(f"webhooks.console.pages.{entry.name}").urlpatterns),
]
