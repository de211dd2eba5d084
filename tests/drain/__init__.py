"""Stops workers as Kubernetes does, while they work, and accounts for every run.

    fleet.py       the fault suite's fleet, with the handlers of team/
    pod.py         one stop: TERM to the main process, KILL at the end of the grace, and what the inbox says of it
    drains.py      a backlog, and pods of eight consumers that are stopped on it one after the other
    storm.py       workers started and stopped at random under a steady load
    containers.py  the same drain on real containers, where podman and an image are
    report.py      what a scene has found, and what of it is a failure
    table.py       the table, beside the figures to beat

Servers, fleet, load and account are the fault suite's. Nothing fails here by itself: `tests/faults` does that.
"""
