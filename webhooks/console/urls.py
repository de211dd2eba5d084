"""The console's paths. Each page brings its own."""

from importlib import import_module

from django.contrib.auth.views import LoginView, LogoutView, PasswordChangeView
from django.urls import URLPattern, path

from webhooks.console.navigation import MENU

_PASSWORD = {"title": "Change my password"}

app_name = "console"
urlpatterns: list[URLPattern] = [
    path("sign-in/", LoginView.as_view(template_name="console/sign_in.html"), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path(
        "password/",
        PasswordChangeView.as_view(template_name="console/password.html", success_url="/", extra_context=_PASSWORD),
        name="password",
    ),
    *(pattern for entry in MENU for pattern in import_module(f"webhooks.console.pages.{entry.name}").urlpatterns),
]
