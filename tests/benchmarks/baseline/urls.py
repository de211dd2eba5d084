"""The baseline's one page."""

import hashlib
import hmac
import json

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from tests.benchmarks.baseline.celery import work
from tests.benchmarks.baseline.models import Webhook


@csrf_exempt
def webhook(request: HttpRequest) -> HttpResponse:
    expected = "sha256=" + hmac.new(settings.WEBHOOK_SECRET.encode(), request.body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, request.headers.get("X-Hub-Signature-256", "")):
        return HttpResponse(status=401)
    stored, is_new = Webhook.objects.get_or_create(
        guid=request.headers["X-GitHub-Delivery"],
        defaults={"event": request.headers["X-GitHub-Event"], "payload": json.loads(request.body)},
    )
    if is_new:
        work.delay(stored.pk)
    return JsonResponse({"delivery": stored.pk}, status=202)


urlpatterns = [path("webhooks/github", webhook), path("readyz", lambda _request: HttpResponse())]
