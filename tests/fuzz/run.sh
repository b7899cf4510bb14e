#!/bin/sh
# Builds every fuzz target with libFuzzer and the sanitizers and runs them all, two at a
# time, from the committed corpora. SECONDS is what they run for added up, each an equal
# share of it. Ends with status 1 after a finding; the input is in the folder it names.
#
#   tests/fuzz/run.sh SECONDS [TARGET...]      targets as in fuzz_TARGET.c
#
# CLANG names the compiler (clang-14, else clang). Inputs found to be of interest are kept
# in FUZZ_STATE (a temporary folder otherwise), so that a long run can be continued.
set -eu

seconds=${1:?"usage: run.sh SECONDS [TARGET...]"}
shift
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
clang=${CLANG:-$(command -v clang-14 || command -v clang)}
state=${FUZZ_STATE:-$(mktemp -d)}
flags="-std=c11 -g -O1 -Wall -Wextra -Wshadow -Werror -D_GNU_SOURCE=1
       -fsanitize=address,undefined -fno-sanitize-recover=undefined
       -I$root/csrc -I$here"

if [ $# -eq 0 ]; then
    for source in "$here"/fuzz_*.c; do
        name=$(basename "$source" .c)
        set -- "$@" "${name#fuzz_}"
    done
fi

mkdir -p "$state/objects"
for source in "$root"/csrc/base/*.c "$root"/csrc/proto/*.c; do
    # shellcheck disable=SC2086
    "$clang" $flags -fsanitize=fuzzer-no-link -c "$source" \
        -o "$state/objects/$(basename "$source" .c).o"
done
for target in "$@"; do
    mkdir -p "$state/$target/found" "$state/$target/crash"
    # shellcheck disable=SC2086
    "$clang" $flags -fsanitize=fuzzer "$here/fuzz_$target.c" "$state"/objects/*.o \
        -o "$state/$target/fuzz"
done

each=$((seconds / $#))
[ "$each" -ge 3 ] || each=3

run_one() {
    dir=$state/$1
    if ! "$dir/fuzz" -max_total_time="$each" -max_len=8192 -timeout=30 \
        -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$dir/crash/" \
        "$dir/found" "$here/corpus/$1" >"$dir/log" 2>&1; then
        echo "$1: FAILED, input in $dir/crash"
        grep -v '^#' "$dir/log" | tail -n 60
        return 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$dir/log")
    echo "$1: $runs inputs in $each s, nothing found"
}

status=0
while [ $# -gt 0 ]; do
    run_one "$1" &
    first=$!
    second=
    if [ $# -gt 1 ]; then
        run_one "$2" &
        second=$!
        shift
    fi
    shift
    wait "$first" || status=1
    [ -z "$second" ] || wait "$second" || status=1
done
[ -n "${FUZZ_STATE:-}" ] || [ "$status" -ne 0 ] || rm -rf "$state"
exit "$status"
