#!/usr/bin/env bash
# Debian 11 with its real Caffe (1.0.0, Python 3.9, NumPy 1.19, OpenBLAS) in FOLDER:
#     prepare.sh FOLDER && chroot FOLDER python3 -c 'import caffe'
# It takes a minute or two and 1.1 GB, once: a finished folder is known by its stamp. Mirror and
# proxy are those of the machine's own apt. Nothing is mounted: FOLDER may simply be removed.
# Ends with 0 when FOLDER is ready, and with 77 after one line on why it cannot be made here.
set -euo pipefail
folder=${1:?usage: prepare.sh FOLDER}
suite=bullseye
packages="python3-caffe libopenblas0-pthread python3-lmdb"
stamp=var/lib/lbpmap-real-caffe # holds the packages: others are a reason to begin anew
part=$folder.part
log=$folder.log

cannot() {
    echo "no real Caffe: $1"
    exit 77
}

if [ "$(cat "$folder/$stamp" 2>/dev/null)" = "$packages" ]; then
    exit 0
fi
if [ -e "$folder" ] && [ ! -e "$folder/$stamp" ]; then
    cannot "$folder exists and is none of this script's: it is left as it is"
fi
[ "$(id -u)" = 0 ] || cannot "Debian 11 can be prepared by root only"
command -v apt-get >/dev/null || cannot "the machine has no apt, which knows a mirror of Debian 11"
mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9 # another run may be preparing it
[ ! -e "$folder/$stamp" ] || [ "$(cat "$folder/$stamp")" != "$packages" ] || exit 0

eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
for proxy in http_proxy https_proxy; do
    [ -z "${!proxy:-}" ] || export "${proxy?}"
done
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

# Whether a site that apt knows, in whichever form its sources are written, has the suite.
mirror=
for site in $(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sort -u); do
    if timeout 60 /usr/lib/apt/apt-helper download-file "${site%/}/dists/$suite/InRelease" \
        "$folder.InRelease" >/dev/null 2>&1; then
        mirror=$site
        break
    fi
done
rm -f "$folder.InRelease"
[ -n "$mirror" ] || cannot "no site in the machine's apt configuration has Debian's suite $suite"
if ! command -v debootstrap >/dev/null; then
    { apt-get -qq update && apt-get -qq -y install --no-install-recommends debootstrap; } \
        >"$log" 2>&1 || cannot "debootstrap cannot be installed (see $log)"
fi

rm -rf "$part" "$folder"
debootstrap --variant=minbase "$suite" "$part" "$mirror" >"$log" 2>&1 ||
    cannot "debootstrap failed: $(tail -n 1 "$log") (see $log)"
apt-config dump | grep -iE '^Acquire::https?::Proxy' >"$part/etc/apt/apt.conf.d/90proxy" || true
echo force-unsafe-io >"$part/etc/dpkg/dpkg.cfg.d/unsafe-io"
# shellcheck disable=SC2086 # one word a package
chroot "$part" apt-get -qq -y install --no-install-recommends $packages >>"$log" 2>&1 ||
    cannot "Debian 11's Caffe cannot be installed: $(tail -n 1 "$log") (see $log)"
chroot "$part" apt-get clean
chroot "$part" python3 -c 'import caffe; caffe.Net' >>"$log" 2>&1 ||
    cannot "Debian 11's Caffe does not start (see $log)"
echo "$packages" >"$part/$stamp"
mv "$part" "$folder"
rm -f "$log"
