"""Django's settings for the pages that do not depend on the environment: what each request passes, sign-in, styles."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from csp.constants import NONE, SELF

PAGE_SETTINGS: Mapping[str, Any] = {
    "MIDDLEWARE": [
        "webhooks.receiver.middleware.MachinePages",
        "django.middleware.security.SecurityMiddleware",
        "csp.middleware.CSPMiddleware",
        "whitenoise.middleware.WhiteNoiseMiddleware",
        "webhooks.receiver.middleware.NoNul",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "axes.middleware.AxesMiddleware",
    ],
    "TEMPLATES": [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                    "webhooks.console.navigation.menu",
                ]
            },
        }
    ],
    "AXES_FAILURE_LIMIT": 5,
    "AXES_COOLOFF_TIME": timedelta(minutes=5),
    # By both: one who guesses locks himself out, not the operator whose name it is, who comes from another address.
    "AXES_LOCKOUT_PARAMETERS": [["username", "ip_address"]],
    "AXES_RESET_ON_SUCCESS": True,
    "AXES_VERBOSE": False,
    "AXES_LOCKOUT_TEMPLATE": "console/locked_out.html",
    "AXES_CLIENT_IP_CALLABLE": "webhooks.console.sign_in.client_address",
    "AUTH_PASSWORD_VALIDATORS": [
        {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
        {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    ],
    # Every style, script and picture is a file of ours. `data:` is for the pictures in Tabler's style sheet.
    "CONTENT_SECURITY_POLICY": {
        "DIRECTIVES": {
            "default-src": [SELF],
            "img-src": [SELF, "data:"],
            "object-src": [NONE],
            "base-uri": [NONE],
            "form-action": [SELF],
            "frame-ancestors": [NONE],
        }
    },
}
