"""Which path goes where."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from webhooks.console.sign_in import admin_sign_in

urlpatterns = [
    path("", include("webhooks.receiver.urls")),
    path("", include("webhooks.api.urls")),
    path("admin/login/", admin_sign_in),
    path("admin/", admin.site.urls),
    path("", include("webhooks.console.urls")),
]
if settings.HOOKLINE_OIDC:
    urlpatterns.append(path("oidc/", include("mozilla_django_oidc.urls")))
