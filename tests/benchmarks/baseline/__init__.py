"""What a team would write first: a Django view that stores the webhook by the ORM and calls `task.delay`.

Served by gunicorn, worked off by a plain Celery worker; on the same PostgreSQL and RabbitMQ as Hookline beside it. No
grouping, no retries, no time limits, no record but a column: what the benchmarks compare Hookline with.
"""
