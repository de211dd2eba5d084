"""The Celery side: claim, run, record. Start reading at `workers/runs/task.py`."""
