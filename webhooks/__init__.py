"""The names that handlers import. To follow a delivery, start at `receiver/front.py`; a job, `publishing/relay.py`."""

from webhooks.subscriptions.event import Event, GiveUp, LimitReached, NoGitHubAccess, RetryLater, Run
from webhooks.subscriptions.subscription import Backoff, on

__all__ = ["Backoff", "Event", "GiveUp", "LimitReached", "NoGitHubAccess", "RetryLater", "Run", "on"]
