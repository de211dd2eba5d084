"""Every program of ours on one broker, as a test of the broker's URL needs them: each has to do its part."""

import urllib3

from tests.support.processes import free_port, wait_until
from tests.support.stack import Stack, http

PASSWORD = "a-password-of-the-operator"


def hold_every_program(stack: Stack) -> None:
    """Hold that receiver, relay and worker bring jobs to an end, and that Flower and stop_workers find the worker."""
    port = free_port()
    stack.environment |= {"HOOKLINE_FLOWER_PORT": str(port), "HOOKLINE_OPERATOR_PASSWORD": PASSWORD}
    stack.start_all()
    stack.start("flower")
    # The retry of the second is the relay's to publish.
    assert stack.send("work")[0] == stack.send("fail-once")[0] == 202
    stack.wait_until_drained()
    assert stack.states() == {"succeeded": 2}
    wait_until(lambda: "worker-" in workers_by_flower(port), what="Flower to see the worker")
    assert "1 worker asked to stop" in stack.manage("stop_workers", "--wait")


def workers_by_flower(port: int) -> str:
    try:
        headers = urllib3.make_headers(basic_auth=f"operator:{PASSWORD}")
        url = f"http://127.0.0.1:{port}/api/workers?refresh=1"
        return http.request("GET", url, headers=headers, timeout=30).data.decode()
    except urllib3.exceptions.HTTPError:
        return ""
