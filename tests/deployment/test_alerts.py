"""Each alert by promtool: it is raised in its situation, with its summary, and not where all is well."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.monitoring import alerts, rules
from tests.support.processes import ROOT
from tests.support.services import PROGRAMS

WELL = {
    "hookline_receiver_stopping": "0x120",
    "hookline_inbox_unavailable_total": "0x120",
    'hookline_receiver_acknowledgement_seconds_bucket{le="0.01"}': "0+100x120",
    'hookline_receiver_acknowledgement_seconds_bucket{le="+Inf"}': "0+100x120",
    'hookline_receiver_deliveries_total{event="push",result="stored"}': "0+100x120",
    'hookline_receiver_deliveries_total{event="push",result="unsigned"}': "0+1x120",
    'hookline_receiver_deliveries_total{event="push",result="failed"}': "1x120",
    'hookline_encoded_secret_total{source="github"}': "2x120",
    'hookline_reconcile_age_seconds{source="github"}': "300x120",
    'hookline_reconcile_passes_total{state="incomplete"}': "1x120",
    'hookline_secret_expires_seconds{source="github"}': "2000000x120",
    "hookline_receiver_broker_available": "1x120",
    'hookline_relay_broker_available{pod="relay-1"}': "1x120",
    'hookline_relay_broker_available{pod="relay-2"}': "0x120",
    'hookline_relay_lag_seconds{pod="relay-1"}': "1x120",
    'hookline_relay_lag_seconds{pod="relay-2"}': "600x120",
    "hookline_relay_leases_expired_total": "0 0 0 0 0 5x115",
    'hookline_queue_waiting_jobs{queue="io"}': "7x120",
    'hookline_queue_oldest_waiting_seconds{queue="io"}': "20x120",
    "hookline_worker_processes": "10x120",
    "hookline_worker_processes_busy": "8x120",
    "hookline_worker_exchanges_failed_total": "3x120",
    'hookline_worker_runs_total{handler="acme.scan",outcome="succeeded"}': "0+10x120",
    'hookline_worker_runs_total{handler="acme.scan",outcome="failed"}': "0+5x120",
    'hookline_worker_runs_total{handler="acme.scan",outcome="crashed"}': "0 0 0 0 0 1x115",
    'hookline_worker_jobs_ended_total{handler="acme.scan",state="dead"}': "0 0 0 0 0 9x115",
    'hookline_worker_stopping{pod="worker-1"}': "0x60 1x3 0x56",
}
"""An hour in which all is well: something fails now and then, and one of two relays does not reach the broker."""
GONE = ""
"""In place of values: no such series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A situation in which an alert is raised: what differs from WELL, and what is said an hour later."""

    series: Mapping[str, str]
    summary: str
    labels: Mapping[str, str] = field(default_factory=dict)


CASES = {
    "HooklineReceiverDown": Case(
        series={"hookline_receiver_stopping": "1x120"},
        summary="No receiver answers Prometheus; GitHub may be getting errors.",
    ),
    "HooklineInboxUnavailable": Case(
        series={"hookline_inbox_unavailable_total": "0+5x120"},
        summary="Receivers answer 503, since the database is not available.",
    ),
    "HooklineAcknowledgementsSlow": Case(
        series={
            'hookline_receiver_acknowledgement_seconds_bucket{le="0.01"}': "0+90x120",
            'hookline_receiver_acknowledgement_seconds_bucket{le="2.5"}': "0+98x120",
            'hookline_receiver_acknowledgement_seconds_bucket{le="5.0"}': "0+100x120",
        },
        summary="One delivery in a hundred waits 3.75s for its answer; GitHub waits ten seconds.",
    ),
    "HooklineDeliveriesUnsigned": Case(
        series={'hookline_receiver_deliveries_total{event="push",result="unsigned"}': "0+100x120"},
        summary="50% of the deliveries are signed with no current secret, and refused.",
    ),
    "HooklineSourceWithoutSecret": Case(
        series={'hookline_secret_expires_seconds{source="github"}': "0x120"},
        summary="No secret of github is current: every delivery is refused.",
        labels={"source": "github"},
    ),
    "HooklineSecretEnds": Case(
        series={'hookline_secret_expires_seconds{source="github"}': "1000000x120"},
        summary="The last secret of github ends in 11d 13h 46m 40s.",
        labels={"source": "github"},
    ),
    "HooklineDeliveriesFailed": Case(
        series={'hookline_receiver_deliveries_total{event="push",result="failed"}': "_x55 1x65"},
        summary="A receiver answered 500: an error that nobody expected.",
    ),
    "HooklineEncodedSecret": Case(
        series={'hookline_encoded_secret_total{source="github"}': "0x50 1x70"},
        summary="Deliveries of github carry a secret in a header; replace its webhook secret.",
        labels={"source": "github"},
    ),
    "HooklineReconcileLate": Case(
        series={'hookline_reconcile_age_seconds{source="github"}': "90000x120"},
        summary="GitHub's log of github was last read completely 1d 1h 0m 0s ago; it keeps three days.",
        labels={"source": "github"},
    ),
    "HooklineReconcileIncomplete": Case(
        series={'hookline_reconcile_passes_total{state="incomplete"}': "1x30 2x90"},
        summary="A pass over GitHub's log found deliveries that it cannot take in, or cannot know that it saw all.",
    ),
    "HooklineBrokerUnavailable": Case(
        series={'hookline_relay_broker_available{pod="relay-1"}': "0x120"},
        summary="The broker does not take what receivers or relays publish; jobs wait in the inbox.",
    ),
    "HooklineRelayDown": Case(
        series={'hookline_queue_waiting_jobs{queue="io"}': GONE},
        summary="No relay reports waiting jobs: retries and lost messages are not published.",
    ),
    "HooklineRelayLags": Case(
        series={'hookline_relay_lag_seconds{pod="relay-1"}': "90x120"},
        summary="No relay has looked at all queues for 1m 30s.",
    ),
    "HooklineNoWorker": Case(
        series={"hookline_worker_processes": GONE, "hookline_worker_processes_busy": GONE},
        summary="Jobs wait, and no worker reports metrics.",
    ),
    "HooklineWorkersWithoutInbox": Case(
        series={"hookline_worker_exchanges_failed_total": "0+1x120"},
        summary="Workers do not reach the database: they claim no jobs and record no outcomes.",
    ),
    "HooklineQueueOld": Case(
        series={'hookline_queue_oldest_waiting_seconds{queue="io"}': "600x120"},
        summary="The oldest job of queue io has waited for 10m 0s.",
        labels={"queue": "io"},
    ),
    "HooklineWorkersFull": Case(
        series={"hookline_worker_processes_busy": "10x120"},
        summary="Nine of ten consumers have been busy for half an hour.",
    ),
    "HooklineHandlerFailing": Case(
        series={'hookline_worker_runs_total{handler="acme.scan",outcome="failed"}': "0+20x120"},
        summary="Most runs of acme.scan fail.",
        labels={"handler": "acme.scan"},
    ),
    "HooklineDestinationAway": Case(
        series={'hookline_destination_breaker_open{destination="chat"}': "1x120"},
        summary="The destination chat takes nothing: its breaker is open, and its jobs wait.",
        labels={"destination": "chat"},
    ),
    "HooklineJobsDie": Case(
        series={'hookline_worker_jobs_ended_total{handler="acme.scan",state="dead"}': "0+1x120"},
        summary="30 jobs of acme.scan have died in half an hour.",
        labels={"handler": "acme.scan"},
    ),
    "HooklineProcessesCrash": Case(
        series={'hookline_worker_runs_total{handler="acme.scan",outcome="crashed"}': "0+1x120"},
        summary="Runs of acme.scan end their process.",
        labels={"handler": "acme.scan"},
    ),
    "HooklineLeasesExpire": Case(
        series={"hookline_relay_leases_expired_total": "0+1x120"},
        summary="Leases of 30 jobs were taken back in half an hour: workers end without a word.",
    ),
    "HooklineWorkerStopsSlowly": Case(
        series={'hookline_worker_stopping{pod="worker-1"}': "1x120"},
        summary="Worker worker-1 has been stopping for five minutes.",
        labels={"pod": "worker-1"},
    ),
}

pytestmark = pytest.mark.promtool


def expected(alert: str, case: Case) -> dict[str, Any]:
    [rule] = [rule for rule in alerts() if rule["alert"] == alert]
    return {
        "exp_labels": {**rule["labels"], **case.labels},
        "exp_annotations": {"summary": case.summary, "runbook_url": rule["annotations"]["runbook_url"]},
    }


def check(directory: Path, series: Mapping[str, str], raised: Mapping[str, Case]) -> None:
    """Hold that after an hour of these series these alerts are raised, and no other of those that are named."""
    (directory / "rules.yaml").write_text(yaml.safe_dump(rules()))
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items() if values],
                "alert_rule_test": [
                    {
                        "eval_time": "1h",
                        "alertname": alert,
                        "exp_alerts": [expected(alert, raised[alert])] if alert in raised else [],
                    }
                    for alert in CASES
                ],
            }
        ],
    }
    (directory / "test.yaml").write_text(yaml.safe_dump(test))
    command = [PROGRAMS["promtool"] or "", "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", CASES)
def test_an_alert_is_raised_in_its_situation_and_no_other_with_it(tmp_path: Path, alert: str) -> None:
    check(tmp_path, {**WELL, **CASES[alert].series}, {alert: CASES[alert]})


def test_no_alert_is_raised_where_all_is_well(tmp_path: Path) -> None:
    check(tmp_path, WELL, {})


def test_every_alert_has_a_situation() -> None:
    assert list(CASES) == [rule["alert"] for rule in alerts()]


def test_promtool_finds_no_fault_in_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules()))
    command = [PROGRAMS["promtool"] or "", "check", "rules", "--lint-fatal", str(tmp_path / "rules.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
