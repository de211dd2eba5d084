"""What handlers need. A delivery's own way begins at `receiver/front.py`, and a job's at `publishing/relay.py`."""

from webhooks.subscriptions.event import Event, GiveUp, RetryLater, Run
from webhooks.subscriptions.subscription import Backoff, on

__all__ = ["Backoff", "Event", "GiveUp", "RetryLater", "Run", "on"]
