#!/bin/sh
# Builds the programs of a Kubernetes cluster into a folder, from the versions that go.mod pins; a quarter of an hour on
# two cores, and 3 GB for Go's caches. Called by the Makefile:
#
#     tests/cluster/tools/build.sh ~/.cache/hookline/cluster-tools
#
# What is in the folder already, of the same versions, is left as it is.
set -eu
target=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")"
version=$(sed -n 's#^\tk8s.io/kubernetes \(v[0-9.]*\)$#\1#p' go.mod)

if ! command -v go >/dev/null; then
    echo "hookline: go is missing; go.mod says which version it must be." >&2
    exit 1
fi
if [ "$(cat "$target/built-from" 2>/dev/null || true)" = "$(sha256sum go.sum build.sh)" ]; then
    echo "The programs of Kubernetes $version are in $target."
    exit 0
fi

echo "Building the programs of Kubernetes $version into $target ..."
number=k8s.io/component-base/version
minor=${version#v1.}
stamp="-X $number.gitVersion=$version -X $number.gitMajor=1 -X $number.gitMinor=${minor%%.*}"
for package in k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager \
    k8s.io/kubernetes/cmd/kube-scheduler k8s.io/kubernetes/cmd/kubelet k8s.io/kubernetes/cmd/kube-proxy \
    k8s.io/kubernetes/cmd/kubectl sigs.k8s.io/metrics-server/cmd/metrics-server; do
    echo "  ${package##*/}"
    CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags "-s -w $stamp" -o "$target/" "$package"
done
# The container that holds a pod's namespaces: its source is in the module, and it needs no library.
echo "  pause"
kubernetes=$(go list -mod=readonly -m -f '{{.Dir}}' k8s.io/kubernetes)
cc -Os -Wall -static -DVERSION="$version" -o "$target/pause" "$kubernetes/build/pause/linux/pause.c"

# The kinds that operators bring, from the modules of these. Go checks each module against its public checksum database.
echo "  custom resource definitions"
mkdir -p "$target/crds"
of_module() { go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'; }
cd "$target" # Not in a module of ours: these are read, not built.
prometheus=$(of_module github.com/prometheus-operator/prometheus-operator@v0.85.0)/example/prometheus-operator-crd
keda=$(of_module github.com/kedacore/keda/v2@v2.18.1)/config/crd/bases
for kind in podmonitors prometheusrules servicemonitors; do
    install -m 644 "$prometheus/monitoring.coreos.com_$kind.yaml" crds/
done
for kind in scaledobjects triggerauthentications; do
    install -m 644 "$keda/keda.sh_$kind.yaml" crds/
done
cd - >/dev/null
sha256sum go.sum build.sh >"$target/built-from"
