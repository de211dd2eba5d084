"""Publishes a message for the job whose id is the argument, whatever its state. The job is one of the trial app."""

import sys

import django


def main(job_id: int) -> None:
    from webhooks.inbox.new_delivery import JobToPublish
    from webhooks.publishing.broker import Broker

    Broker().publish([JobToPublish(job_id, "trial.work", "trial")])


if __name__ == "__main__":
    django.setup()
    main(int(sys.argv[1]))
