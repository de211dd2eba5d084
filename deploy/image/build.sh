#!/bin/sh
# Builds the image with buildah, which needs neither a daemon nor a container around each step. Called by the Makefile:
#
#     deploy/image/build.sh localhost/hookline:latest
#
# $EXTRAS is what else is installed, such as "oidc otel". $BASE_IMAGE is the base image; without it, the base is the
# Dockerfile's, or, if that cannot be pulled, one that make-base.sh makes. The step that runs pip gets pip's
# configuration of this machine.
set -eu
name=$1
cd "$(dirname "$0")/../.."
file=deploy/image/Dockerfile
own_base=localhost/hookline-base:trixie

if ! command -v buildah >/dev/null; then
    echo "hookline: buildah is missing; on Debian: apt-get install buildah podman runc catatonit debootstrap" >&2
    exit 1
fi

base=${BASE_IMAGE:-}
if [ -z "$base" ]; then
    base=$(sed -n 's/^ARG BASE_IMAGE=//p' $file)
    if ! buildah pull --quiet "$base" >/dev/null 2>&1; then
        echo "$base cannot be pulled; building on $own_base."
        base=$own_base
        buildah inspect --type image "$base" >/dev/null 2>&1 || deploy/image/make-base.sh "$base"
    fi
fi

mounted=$(mktemp -d)
trap 'rm -rf "$mounted"' EXIT
trap 'exit 1' HUP INT TERM
: >"$mounted/ca.pem"
echo "[global]" >"$mounted/pip.conf"
# A line is global.index-url='…', install.index-url='…' or :env:.index-url='…'; a later section overrides an earlier one.
configured=$({ .venv/bin/python -m pip config list || python3 -m pip config list || true; } 2>/dev/null)
for section in global install :env:; do echo "$configured" | sed -n "s/^$section\.\([a-z-]*\)='\(.*\)'\$/\1 \2/p"; done |
    while read -r option value; do
        case $option in
        cert)
            cp "$value" "$mounted/ca.pem"
            value=/run/pip-ca.pem
            ;;
        index-url | extra-index-url | trusted-host | proxy | default-timeout) ;;
        *) continue ;;
        esac
        # The build cannot read files of this machine.
        case $value in file:*) continue ;; esac
        sed "/^$option = /d" "$mounted/pip.conf" >"$mounted/pip.conf.new"
        echo "$option = $value" >>"$mounted/pip.conf.new"
        mv "$mounted/pip.conf.new" "$mounted/pip.conf"
    done

echo "Building $name ..."
id_of() { buildah inspect --type image --format '{{.FromImageID}}' "$1" 2>/dev/null || true; }
former=$(id_of "$name")
buildah bud --isolation chroot --layers --quiet --file $file --tag "$name" \
    --secret id=pip.conf,src="$mounted/pip.conf" --secret id=ca.pem,src="$mounted/ca.pem" \
    --build-arg BASE_IMAGE="$base" --build-arg EXTRAS="${EXTRAS:-}" \
    --build-arg VERSION="$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
    --build-arg REVISION="$(git describe --always --abbrev=40 --exclude '*' --dirty 2>/dev/null || echo unknown)" \
    --build-arg CREATED="$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    . >/dev/null
built=$(id_of "$name")
if [ -z "$built" ]; then
    echo "hookline: the build has ended, and no image is named $name." >&2
    exit 1
fi
# If the build made another image, the former one has lost its name and is removed, unless images are built on it.
[ -z "$former" ] || [ "$former" = "$built" ] || buildah rmi "$former" >/dev/null 2>&1 || true

size=$(buildah images --format '{{.Size}}' "$name")
echo "$name: $size, its base included."
