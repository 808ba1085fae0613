#!/usr/bin/env bash
# One binary for all CPUs: the C tests, built once for plain x86-64, run here and on CPUs that QEMU plays, and those for
# ARM on ARM CPUs that it plays. Says on each which SHA-256 kernel was chosen, and fails when it is not the one expected.
#
# What cannot be played: QEMU before 8.2 has no SHA extensions and none has AVX-512, so shani and avx512 run natively or
# not at all; and every ARM CPU of QEMU has the SHA2 instructions, so a CPU without them is only what the masks of
# test_sha256 make of it.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=build/cpus
arm=/usr/aarch64-linux-gnu

[ "$(uname -m)" = x86_64 ] || { echo "ctest-cpus: this needs an x86-64 machine" >&2; exit 1; }
missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need qemu-x86_64 qemu-user # and qemu-aarch64
need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
[ -e $arm/lib/ld-linux-aarch64.so.1 ] || missing+=(libc6-dev-arm64-cross)
if [ ${#missing[@]} -gt 0 ]; then
    get=(apt-get install -y -q --no-install-recommends "${missing[@]}")
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -q >"${TMPDIR:-/tmp}/baash-apt.log" && "${get[@]}" >>"${TMPDIR:-/tmp}/baash-apt.log"
    else
        echo "ctest-cpus: this needs ${missing[*]} (${get[*]})" >&2
        exit 1
    fi
fi

tests="sha256 merkle transaction window tally state"
log=$build/log
configure() { # folder, choices
    cmake -S . -B "$build/$1" -DCMAKE_BUILD_TYPE=Release "${@:2}" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    cmake --build "$build/$1" --parallel 2 >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
}
mkdir -p "$build"
configure x86-64 -DCMAKE_C_FLAGS=-march=x86-64 -DBAASH_OPENMP=OFF
configure aarch64 -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc

# Play nothing that the CPU is said to lack: a program that uses AVX2 unasked must die on a CPU without.
printf 'int main(void) { __asm__ volatile("vpaddd %%ymm0, %%ymm0, %%ymm0"); return 0; }\n' | cc -xc - -o $build/avx2
if (qemu-x86_64 -cpu Nehalem $build/avx2; exit $?) >"$log" 2>&1; then
    echo "ctest-cpus: this QEMU runs AVX2 on a CPU without, and so shows nothing" >&2
    exit 1
fi

check() { # folder, name, the kernel expected or -, the command that runs a test
    local said
    for test in $tests; do
        if ! said=$("${@:4}" "$build/$1/test_$test" tests/vectors 2>"$log"); then # QEMU says what it cannot play, at length
            cat "$log" >&2
            echo "ctest-cpus: $test fails on $2" >&2
            exit 1
        fi
        [ "$test" != sha256 ] || printf '%-28s %s\n' "$2" "$said"
        if [ "$test" = sha256 ] && [ "$3" != - ] && [[ "$said" != "chosen $3;"* ]]; then
            echo "ctest-cpus: $2 should have chosen $3" >&2
            exit 1
        fi
    done
}
intel() { check x86-64 "$1" "$2" qemu-x86_64 -cpu "$1"; }

check x86-64 "this CPU" - env
intel qemu64 portable
intel Nehalem portable
intel Haswell avx2+portable
intel Haswell,-bmi2 portable # AVX2 without BMI is not used: the compiler may mix them
intel Haswell,-xsave portable # without XSAVE the system does not keep wide registers
intel EPYC -
intel EPYC,-sha-ni avx2+portable
intel max -
for cpu in max cortex-a57 neoverse-n1; do
    check aarch64 "ARM $cpu" armv8 qemu-aarch64 -L $arm -cpu $cpu
done
