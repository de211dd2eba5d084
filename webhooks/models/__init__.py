"""The tables. Rows only: what may change, and how, is in `webhooks/inbox/`."""

from webhooks.models.audit import Change, ChangedJob
from webhooks.models.inbox import Attempt, Delivery, Job, Payload, Source
from webhooks.models.issues import IssueMark
from webhooks.models.pauses import Pause
from webhooks.models.replays import Replay, ReplayItem
from webhooks.models.views import SavedView
from webhooks.models.workers import WorkerReport, WorkerRequest

__all__ = [
    "Attempt",
    "Change",
    "ChangedJob",
    "Delivery",
    "IssueMark",
    "Job",
    "Pause",
    "Payload",
    "Replay",
    "ReplayItem",
    "SavedView",
    "Source",
    "WorkerReport",
    "WorkerRequest",
]
