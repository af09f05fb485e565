#!/usr/bin/env bash
# mkbase.sh OUT.tar: a stand-in for the image python:3.11-slim-bookworm, made from this machine's own Debian sources, so that
# the Dockerfile can be built where no image registry can be reached. This machine's CA bundle and pip settings are baked in.
set -euo pipefail
out=$1
sources=/etc/apt/sources.list.d/debian.sources
[ -e "$sources" ] || sources=/etc/apt/sources.list
mmdebstrap --quiet --variant=apt --mode=root \
  --include=python3-minimal,python3-venv,python3-pip,ca-certificates,netbase,tzdata \
  --aptopt='Acquire::Check-Valid-Until "false"' --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='rm -f "$1"/usr/lib/python3.11/EXTERNALLY-MANAGED' \
  --customize-hook='for name in python python3; do ln -sf /usr/bin/python3 "$1/usr/local/bin/$name"; done' \
  --customize-hook='for name in pip pip3; do ln -sf /usr/bin/pip3 "$1/usr/local/bin/$name"; done' \
  --customize-hook='cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/ca-certificates.crt"' \
  --customize-hook='if [ -f /etc/pip.conf ]; then cp /etc/pip.conf "$1/etc/pip.conf"; fi' \
  --customize-hook='rm -f "$1/etc/resolv.conf" "$1/etc/hostname"; cp /etc/apt/apt.conf.d/99* "$1/etc/apt/apt.conf.d/" 2>/dev/null || true' \
  bookworm "$out" "$sources"
