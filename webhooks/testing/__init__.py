"""For the tests of handlers: make an event from a sample payload, and run a handler as a worker would.

    from webhooks.testing import event, run_handler

    def test_a_new_pull_request_is_greeted():
        outcome = run_handler(greet, event("pull_request", action="opened", number=7))
        assert (outcome.kind, outcome.message) == ("succeeded", "greeted #7")

The fixture `deliver`, which posts a signed webhook to the receiver, is in `webhooks.testing.plugin`: only that module
needs pytest and pytest-django.
"""

from webhooks.testing.events import event
from webhooks.testing.running import is_subscribed, run_handler

__all__ = ["event", "is_subscribed", "run_handler"]
