"""The fault suite: Hookline's real processes, under load, with something killed, stopped, frozen, emptied or full.

`make faults` runs it all; `tests/system/test_faults.py` runs a short form of a part of it within `make test`.

    servers, rabbitmq   a PostgreSQL, a Redis and a RabbitMQ of the suite's own, that may be treated badly
    fleet               the processes of one installation, and who starts them again
    load                signed deliveries at a steady rate, and what became of each
    account             what the inbox and the handlers' marks say of each delivery
    scene               one case from its start to its result
    *_cases             the faults
    team                the handlers that the load is for
"""
