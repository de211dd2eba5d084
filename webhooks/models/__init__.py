"""The tables. Rows only: what may change, and how, is in `webhooks/inbox/`."""

from webhooks.models.audit import Change, ChangedJob
from webhooks.models.destinations import Destination
from webhooks.models.figures import AnswerMinute, FigureHour, FigureMark, FigureMinute, QueueMinute, Release
from webhooks.models.inbox import Attempt, Delivery, Job, Payload, Source
from webhooks.models.issues import IssueMark
from webhooks.models.limits import ApiLimit
from webhooks.models.pauses import Pause
from webhooks.models.reconciling import HookLog, LogPass, MissedDelivery, Recovery
from webhooks.models.replays import Replay, ReplayItem
from webhooks.models.secrets import SecretUse, SourceSecret
from webhooks.models.tokens import Pull, Token
from webhooks.models.views import SavedView
from webhooks.models.workers import WorkerReport, WorkerRequest

__all__ = [
    "AnswerMinute",
    "ApiLimit",
    "Attempt",
    "Change",
    "ChangedJob",
    "Delivery",
    "Destination",
    "FigureHour",
    "FigureMark",
    "FigureMinute",
    "HookLog",
    "IssueMark",
    "Job",
    "LogPass",
    "MissedDelivery",
    "Pause",
    "Payload",
    "Pull",
    "QueueMinute",
    "Recovery",
    "Release",
    "Replay",
    "ReplayItem",
    "SavedView",
    "SecretUse",
    "Source",
    "SourceSecret",
    "Token",
    "WorkerReport",
    "WorkerRequest",
]
