"""The API's paths, which all begin with `paths.API`."""

from django.urls import path

from webhooks.api import views
from webhooks.paths import API

_ROOT = API[1:]

urlpatterns = [
    path(f"{_ROOT}deliveries/<uuid:guid>", views.deliveries),
    path(f"{_ROOT}pull-requests/<str:owner>/<str:name>/<int:number>", views.pull_request),
    path(f"{_ROOT}<path:_rest>", views.unknown),
]
