#!/usr/bin/env bash
# lbpmap of this checkout in FOLDER, which prepare.sh has made: its Python 3.9 and NumPy 1.19, the
# oldest that lbpmap supports; its core tests run there.
#     install_there.sh FOLDER [PYTEST ARGUMENT ...]
# The compiler and the packages are kept in FOLDER, so that only the first run takes minutes.
# Ends with pytest's status, and with 77 after one line on why it cannot be done here.
set -euo pipefail
folder=${1:?usage: install_there.sh FOLDER [PYTEST ARGUMENT ...]}
shift
here=$(cd "$(dirname "$0")/../.." && pwd)
stamp=var/lib/lbpmap-build-tools
log=$folder/var/log/lbpmap-install.log
tree=/tmp/lbpmap-checkout
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

cannot() {
    echo "lbpmap is not tested on Python 3.9: $1"
    exit 77
}

inside() { chroot "$folder" "$@" >>"$log" 2>&1; }

[ "$(id -u)" = 0 ] || cannot "only root can change into $folder"
[ -x "$folder/usr/bin/python3" ] || cannot "$folder is not prepared (see prepare.sh)"
exec 9>"$folder/var/lock/lbpmap"
flock 9 # another run may be installing there
: >"$log"

# What pip needs of this machine: where it looks for packages, and whom it trusts.
cp /etc/resolv.conf "$folder/etc/resolv.conf" 2>/dev/null || true
bundle=${PIP_CERT:-${SSL_CERT_FILE:-}}
if [ -f "$bundle" ]; then
    cp "$bundle" "$folder/opt/certificates.pem"
    for name in PIP_CERT SSL_CERT_FILE REQUESTS_CA_BUNDLE CURL_CA_BUNDLE; do
        export "$name=/opt/certificates.pem"
    done
fi
if index=$(python3 -m pip config get global.index-url 2>/dev/null); then
    export PIP_INDEX_URL=${PIP_INDEX_URL:-$index}
fi
unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL PIP_CONSTRAINT # may name files that are not there
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

if [ ! -e "$folder/$stamp" ]; then
    inside apt-get -qq -y install --no-install-recommends gcc libc6-dev python3-dev python3-venv ||
        cannot "Debian's compiler cannot be installed (see $log)"
    chroot "$folder" apt-get clean
    # Debian's NumPy, SciPy, Pillow, scikit-image and py-lmdb; what is too old comes from PyPI.
    inside python3 -m venv --system-site-packages /opt/lbpmap || cannot "no venv (see $log)"
    inside /opt/lbpmap/bin/pip install -q 'pip>=23' || cannot "PyPI cannot be reached (see $log)"
    touch "$folder/$stamp"
fi

rm -rf "${folder:?}$tree" "${folder:?}$tree-tests" "${folder:?}$tree-shared"
mkdir -p "$folder$tree" "$folder$tree-tests"
tar -C "$here" --exclude=__pycache__ --exclude='*.so' --exclude=_kernels.c -c \
    lbpmap csrc caffe_models tests pyproject.toml setup.py MANIFEST.in README.md LICENSE |
    tar -C "$folder$tree" -x
mv "$folder$tree/tests" "$folder$tree-tests/"
cp "$folder$tree/pyproject.toml" "$folder$tree-tests/"
shared=${LBPMAP_SHARED:-$here/../shared/data}
if [ -d "$shared" ]; then
    cp -r "$shared" "$folder$tree-shared"
fi
export LBPMAP_SHARED=$tree-shared # absent there, the tests say so and skip
echo numpy==1.19.5 >"$folder$tree/numpy"
inside /opt/lbpmap/bin/pip install -q --constraint "$tree/numpy" "$tree" pytest hypothesis 'h5py>=3.1' ||
    { tail -n 20 "$log"; exit 1; }
chroot "$folder" sh -c 'cd "$1" && shift && exec /opt/lbpmap/bin/python -m pytest "$@"' \
    pytest "$tree-tests" -q -p no:cacheprovider -m 'not slow and not checkout' "$@"
