"""Starts a cluster for a person to look at, until Ctrl-C: `make cluster`."""

import sys
import tempfile
import threading
from pathlib import Path

from tests.cluster import programs
from tests.cluster.cluster import running_cluster


def main() -> int:
    if missing := programs.why_not():
        print(f"hookline: no cluster can be started here for want of {missing}.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="hookline-cluster-") as directory:
        print("Starting a control plane and two nodes ...", flush=True)
        with running_cluster(Path(directory)) as cluster:
            print(f"\n    export KUBECONFIG={cluster.kubeconfig}\n\nCtrl-C stops it.", flush=True)
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                print("Stopping ...")
    return 0


if __name__ == "__main__":
    sys.exit(main())
