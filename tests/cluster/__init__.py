"""A real Kubernetes on this machine, for the tests of the manifests: `make cluster-tools`, then `make cluster-test`.

programs.py       the programs that it needs, and why there may be no cluster
credentials.py    its authority, certificates and kubeconfigs
network.py        its bridge, and a network namespace for each node
control_plane.py  etcd, the API server, the controller manager and the scheduler
node.py           containerd and a kubelet, in namespaces and a cgroup of their own
cluster.py        all of it, with what tests ask of it
"""
