"""`manage.py check_deploy FILE…`: compares rendered Kubernetes manifests with what Hookline needs."""

from argparse import RawDescriptionHelpFormatter
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from webhooks.receiver.server import STOP_MARGIN_SECONDS
from webhooks.subscriptions.installed import installed_subscriptions
from workers.deployment import mismatches, notes
from workers.deployment.deployed import Deployed, Surroundings
from workers.deployment.manifests import UnreadableManifestError
from workers.management.manifest_files import manifests_of
from workers.runs.registration import visibility_seconds

RABBITMQ_CONSUMER_TIMEOUT_SECONDS = 1800.0
"""RabbitMQ's own default."""

EXAMPLE = """\
    kubectl kustomize deploy/kubernetes/overlays/production | manage.py check_deploy -

Time limits are those of the handlers installed here, so run it with the HOOKLINE_APPS of the deployment. Everything
else is read from the manifests; for values that they leave out, production's defaults count. The cluster is not asked;
notes say what to check there.
Exit status: 0, or 1 if anything does not match or cannot be read."""


class Command(BaseCommand):
    help = "Compare graces, limits, timeouts, connections, memory, probes and secrets in rendered Kubernetes manifests."
    requires_migrations_checks = False

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        return super().create_parser(
            prog_name, subcommand, epilog=EXAMPLE, formatter_class=RawDescriptionHelpFormatter, **options
        )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("files", nargs="+", metavar="FILE", help="rendered manifests; - for standard input")
        parser.add_argument(
            "--max-connections", type=int, help="the database's max_connections; else the manifests' annotation, or 100"
        )
        parser.add_argument(
            "--consumer-timeout",
            type=float,
            default=RABBITMQ_CONSUMER_TIMEOUT_SECONDS,
            metavar="SECONDS",
            help="RabbitMQ's consumer_timeout; default %(default)g",
        )

    def handle(
        self, *args: Any, files: list[str], max_connections: int | None, consumer_timeout: float, **options: Any
    ) -> None:
        around = _surroundings(max_connections, consumer_timeout)
        try:
            manifests = manifests_of(files)
            deployed = Deployed.of(manifests, around)
            found = list(mismatches(deployed))
        except UnreadableManifestError as error:
            raise CommandError(str(error)) from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CommandError(f"Kubernetes would refuse these manifests: {error}.") from error
        if not deployed.workloads:
            raise CommandError(f"None of {len(manifests)} manifests runs a program of Hookline; are they rendered?")
        for sentence in [*(f"Note: {note}" for note in notes(deployed)), *found]:
            self.stdout.write(sentence)
        if found:
            raise CommandError(f"{len(manifests)} manifests, {len(found)} mismatch{'es' if len(found) > 1 else ''}")
        self.stdout.write(f"{len(manifests)} manifests, no mismatch")


def _surroundings(max_connections: int | None, consumer_timeout: float) -> Surroundings:
    return Surroundings(
        subscriptions=installed_subscriptions(),
        apps=frozenset(settings.INSTALLED_APPS),
        default_queue=settings.CELERY_TASK_DEFAULT_QUEUE,
        default_time_limit=settings.HOOKLINE_TIME_LIMIT,
        variables=frozenset(settings.HOOKLINE_VARIABLES),
        withheld=settings.HOOKLINE_WITHHELD,
        visibility_seconds=visibility_seconds,
        receiver_margin_seconds=STOP_MARGIN_SECONDS,
        max_connections=max_connections,
        consumer_timeout_seconds=consumer_timeout,
    )
