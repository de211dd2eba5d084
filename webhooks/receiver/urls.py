"""The receiver's paths. /webhooks/github is what a GitHub App's webhook URL ends in."""

from django.urls import path
from django.views.generic import RedirectView

from webhooks.receiver import views

urlpatterns = [
    path("", RedirectView.as_view(url="/admin/")),
    path("webhooks/<slug:source>", views.webhook, name="webhook"),
    path("livez", views.livez),
    path("readyz", views.readyz),
    path("startupz", views.startupz),
    path("metrics", views.metrics),
]
