"""Changes what is done about memory in a worker, as BENCHMARK_AT_START says; changes nothing where that is empty.

Python imports this at its start if its folder is on PYTHONPATH. Most changes are made as `workers.hooks` connects what
is done before the fork.
"""

import gc
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

NEEDED_APPS = ("django.contrib.auth", "django.contrib.contenttypes")
SPARED_APPS = ("django.", "whitenoise.")


def _at_connect(change: Callable[[Any], object] | None) -> None:
    """Change the module `workers.memory` before it is connected; without a change, leave it unconnected."""
    from celery import signals

    worker_init: Any = signals.worker_init
    connect = worker_init.connect

    def connect_other(receiver: Any, **options: Any) -> Any:
        if receiver.__module__ == "workers.memory":
            if change is None:
                return receiver
            change(sys.modules["workers.memory"])
        return connect(receiver, **options)

    worker_init.connect = connect_other


def _enable_gc_in_children(_memory: Any) -> None:
    from celery import signals

    signals.worker_process_init.connect(lambda **_: gc.enable(), weak=False)


def _keep_gc_off_until_then() -> None:
    gc.disable()
    _at_connect(_enable_gc_in_children)


def _load_lean_apps() -> None:
    """Load the smallest list of apps that the handlers and the inbox run with, in the worker alone."""
    if "workers" not in sys.orig_argv:
        return
    from project import settings

    settings.INSTALLED_APPS = [
        app for app in settings.INSTALLED_APPS if app in NEEDED_APPS or not app.startswith(SPARED_APPS)
    ]
    vars(settings)["MIDDLEWARE"] = []
    urls: Any = ModuleType("no_urls")
    urls.urlpatterns = []
    sys.modules["no_urls"] = urls
    settings.ROOT_URLCONF = "no_urls"


AT_START: dict[str, Callable[[], None]] = {
    "": lambda: None,
    "not connected": lambda: _at_connect(None),
    "no warm-up": lambda: _at_connect(lambda memory: setattr(memory, "warm_up", lambda: None)),
    "warm-up of 1 run": lambda: _at_connect(lambda memory: setattr(memory, "WARM_UP_RUNS", 1)),
    "warm-up of 5 runs": lambda: _at_connect(lambda memory: setattr(memory, "WARM_UP_RUNS", 5)),
    "no immortals": lambda: _at_connect(lambda memory: setattr(memory, "make_immortal", lambda: 0)),
    "no collect": lambda: _at_connect(lambda _: setattr(gc, "collect", lambda: None)),
    "no freeze": lambda: _at_connect(lambda _: setattr(gc, "freeze", lambda: None)),
    "gc off until then": _keep_gc_off_until_then,
    "lean apps": _load_lean_apps,
}

AT_START[os.environ.get("BENCHMARK_AT_START", "")]()
