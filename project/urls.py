"""Which path goes where."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("webhooks.receiver.urls")),
    path("admin/", admin.site.urls),
    path("", include("webhooks.console.urls")),
]
