#!/bin/sh
# Makes a base image from Debian's packages, for use where no registry can be reached: a minimal Debian with Python.
#
#     deploy/image/make-base.sh localhost/hookline-base:trixie
#
# It uses the mirrors and the proxy of this machine's apt; the machine may run any release of Debian. Needs root,
# debootstrap and buildah.
set -eu
name=$1
suite=trixie

fail() {
    echo "hookline: $1" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || fail "debootstrap needs root."
for tool in debootstrap buildah; do
    command -v $tool >/dev/null || fail "$tool is missing; on Debian: apt-get install buildah debootstrap"
done

eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
export http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}"
# Prints the first mirror with label $1 and a release that matches $2, from the package lists that apt has fetched.
mirror_of() {
    apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 'Origin: Debian' "Label: $1" |
        awk -v like="$2" '$2 ~ like { print $1; exit }'
}
mirror=$(mirror_of Debian '^[a-z]+$')
updates=$(mirror_of Debian '-updates$')
security=$(mirror_of Debian-Security .)
[ -n "$mirror" ] || fail "apt knows no mirror of Debian here; if it should, run apt-get update first."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
root=$work/root

add_source() {
    # apt's own downloader: it uses apt's proxies and CA certificates, and reads file: URLs too.
    /usr/lib/apt/apt-helper download-file "${1%/}/dists/$2/Release" "$work/Release" >/dev/null 2>&1 ||
        fail "the mirror of Debian that apt uses here does not serve $2, or cannot be reached."
    echo "deb $1 $2 main" >>"$work/sources.list"
}
add_source "$mirror" $suite
[ -z "$updates" ] || add_source "$updates" $suite-updates
[ -z "$security" ] || add_source "$security" $suite-security

echo "Making $name of Debian $suite ..."
# ca-certificates: handlers speak to GitHub over TLS.
debootstrap --variant=minbase --include=python3,ca-certificates $suite "$root" "$mirror" >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; fail "debootstrap failed."; }
cp "$work/sources.list" "$root/etc/apt/sources.list"
DEBIAN_FRONTEND=noninteractive chroot "$root" sh -c \
    'apt-get update -qq && apt-get upgrade -qq --yes' >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; fail "apt-get upgrade failed."; }

rm -rf "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/* \
    "$root"/var/lib/apt/lists/* "$root"/var/cache/* "$root"/var/log/* "$root"/etc/hostname "$root"/etc/resolv.conf
mkdir -p "$root/var/cache/apt/archives/partial" "$root/etc/dpkg/dpkg.cfg.d"
printf 'path-exclude /usr/share/%s/*\n' doc man info locale >"$root/etc/dpkg/dpkg.cfg.d/docker"

id_of() { buildah inspect --type image --format '{{.FromImageID}}' "$1" 2>/dev/null || true; }
former=$(id_of "$name")
container=$(buildah from scratch)
buildah add --quiet "$container" "$root" / >/dev/null
buildah config --cmd python3 "$container"
buildah commit --quiet --rm "$container" "$name" >/dev/null
made=$(id_of "$name")
[ -n "$made" ] || fail "buildah has ended, and no image is named $name."
# The former image has lost its name and is removed, unless images are built on it.
[ -z "$former" ] || [ "$former" = "$made" ] || buildah rmi "$former" >/dev/null 2>&1 || true
