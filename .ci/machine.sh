# .ci/machine.sh -- what .ci/run and .ci/nightly share: Debian's packages, the CPythons, a copy
# of the tree, and the build with the sanitizers. To be sourced by bash, set -euo pipefail.
#
# Leaves: the project's root as working directory; $work, a folder that goes away at exit;
# ${pythons[@]}, the CPythons of this machine from 3.11 on, and $first, the oldest.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
export CI=true PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 DEBIAN_FRONTEND=noninteractive
export PYFASTLOOP_WERROR=1
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV

work=$(mktemp -d "${TMPDIR:-/tmp}/pyfastloop-ci.XXXXXX")
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

step() {
    printf '\n=== %s (%d s so far)\n' "$1" "$SECONDS"
}

copy_tree() { # TARGET: every file that is or would be committed
    mkdir -p "$1"
    git ls-files -z --cached --others --exclude-standard |
        tar --null --files-from=- --create --file=- | tar --extract --file=- --directory="$1"
}

usable_python() { # VERSION: prints a CPython of it that has headers, pip and venv
    local python
    for python in "$HOME/.pyenv/versions/$1".*/bin/python "/usr/local/bin/python$1" "/usr/bin/python$1"; do
        if [[ -x $python ]] && "$python" - "$1" 2>/dev/null <<'CHECK'
import ensurepip, os, sys, sysconfig, venv
header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
version = "%d.%d" % sys.version_info[:2]
ok = version == sys.argv[1] and sys.implementation.name == "cpython"
sys.exit(not (ok and os.path.exists(header)))
CHECK
        then
            echo "$python"
            return
        fi
    done
}

step "What the machine must have"
packages=()
need() { # PROGRAM PACKAGE...
    command -v "$1" >/dev/null || packages+=("${@:2}")
}
need gcc gcc libc6-dev
need clang-14 clang-14
need ab apache2-utils
need curl curl
need git git
need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross
need qemu-aarch64 qemu-user
# Clients and proxies of tests/clients.
need wrk wrk
need h2load nghttp2-client
need nginx nginx-light
need haproxy haproxy
need chromium chromium
need redis-server redis-server
compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || packages+=(postgresql)
[[ -e /usr/include/stdio.h ]] || packages+=(libc6-dev)
compgen -G '/usr/lib/llvm-14/lib/clang/*/lib/linux/libclang_rt.fuzzer-x86_64.a' >/dev/null ||
    packages+=(libclang-rt-14-dev)
for version in 3.11 3.12 3.13; do
    if [[ -x /usr/bin/python$version && -z $(usable_python "$version") ]]; then
        packages+=("python$version-dev" "python$version-venv")
    fi
done
if ((${#packages[@]})); then
    echo "installing ${packages[*]}"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
pythons=()
for version in 3.11 3.12 3.13; do
    python=$(usable_python "$version")
    if [[ -n $python ]]; then
        pythons+=("$python")
        echo "CPython $version: $python"
    else
        echo "CPython $version: not on this machine"
    fi
done
if ! ((${#pythons[@]})); then
    echo "no CPython of 3.11, 3.12 or 3.13 with headers and venv was found" >&2
    exit 1
fi
first=${pythons[0]}

# A build with the sanitizers in a virtual environment and a copy of the tree of its own.
install_sanitized() {
    "$first" -m venv "$work/sanitized"
    copy_tree "$work/tree-sanitized"
    (
        cd "$work/tree-sanitized"
        CFLAGS="-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined" \
            LDFLAGS="-fsanitize=address,undefined" \
            "$work/sanitized/bin/pip" install --quiet '.[test-basic]'
    )
}
sanitizers="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
