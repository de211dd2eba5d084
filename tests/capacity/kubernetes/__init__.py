"""What Kubernetes' own controller answers in many cases, recorded, so that the planner's autoscaler can be compared.

    python -m tests.capacity.kubernetes   # as `make cluster-tools` builds: needs Go and Kubernetes' module

`cases.json` has pods, metrics and behaviors made at random, and the answers of Kubernetes 1.34. `answers.go` is put
beside a copy of the controller's files, since most of their functions are not exported. The controller asks for the
time itself; so what it remembers is made older between two steps.
"""
