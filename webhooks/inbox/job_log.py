"""The fields that every log line of a job has, in each process: by any of them, all of its lines are found."""

from typing import Any

from webhooks.inbox.claimed_job import ClaimedJob
from webhooks.models import Job
from webhooks.traces.context import trace_id, trace_id_of


def job_fields(job: ClaimedJob | Job) -> dict[str, Any]:
    """Return the fields of a job in its current attempt. Of a row, the delivery is read if it is not there yet."""
    if isinstance(job, ClaimedJob):
        guid, trace = job.guid, trace_id(job.traceparent, job.guid)
    else:
        guid, trace = job.delivery.guid, trace_id_of(job.delivery)
    return {
        "delivery": job.delivery_id,
        "guid": str(guid),
        "job": job.pk,
        "handler": job.handler,
        "attempt": job.attempt,
        "trace_id": trace,
    }
