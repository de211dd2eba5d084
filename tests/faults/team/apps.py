"""The Django app, with the points at which a test may have one of Hookline's processes fail."""

from django.apps import AppConfig

DIE_AT_OFFER = "FAULT_DIE_AT_OFFER"
LOST_BACKOFF = "FAULT_LOST_BACKOFF"
LOST_ALLOWANCE = "FAULT_LOST_ALLOWANCE"


class TeamConfig(AppConfig):
    name = "tests.faults.team"
    label = "team"

    def ready(self) -> None:
        from tests.faults.team import fault_points

        fault_points.arm()
