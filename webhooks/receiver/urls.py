"""The receiver's paths. A GitHub App's webhook URL ends in /webhooks/github."""

from django.urls import path

from webhooks.paths import LIVEZ, METRICS, READYZ, STARTUPZ, WEBHOOKS
from webhooks.receiver import views

urlpatterns = [
    path(f"{WEBHOOKS[1:]}<slug:source>", views.webhook, name="webhook"),
    path(LIVEZ[1:], views.livez),
    path(READYZ[1:], views.readyz),
    path(STARTUPZ[1:], views.startupz),
    path(METRICS[1:], views.metrics),
]
