#!/usr/bin/env bash
# Installs the Debian packages that building (and, with `test`, testing) needs and that are missing. Debian 12 and 13.
#
#   scripts/setup.sh build     compiler, CMake and the libraries
#   scripts/setup.sh fuzz      also clang with libFuzzer
#   scripts/setup.sh test      also what the tests compare against: python3-torch and others
#
# Uses apt as root, or through sudo; says what it installs; does nothing when everything is there.
set -euo pipefail

build_packages=(
  g++ cmake ninja-build pkg-config
  libabsl-dev libeigen3-dev libhwy-dev libre2-dev nlohmann-json3-dev zlib1g-dev libzip-dev libprotobuf-dev
  protobuf-compiler libcli11-dev
  python3
)
test_packages=(
  libgtest-dev libgmock-dev libbenchmark-dev
  python3-numpy python3-torch python3-jsonschema python3-venv fasttext
)

fuzz_packages=(clang libclang-rt-dev)

case "${1:-}" in
  build) wanted=("${build_packages[@]}") ;;
  test) wanted=("${build_packages[@]}" "${test_packages[@]}") ;;
  fuzz) wanted=("${build_packages[@]}" "${fuzz_packages[@]}") ;;
  *) echo "usage: scripts/setup.sh build|test|fuzz" >&2; exit 2 ;;
esac

if ! command -v apt-get >/dev/null; then
  echo "setup.sh: apt-get not found; install by hand what matches these Debian packages: ${wanted[*]}" >&2
  exit 1
fi

missing=()
for package in "${wanted[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup.sh: not root and no sudo; ask an administrator for: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "setup.sh: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" apt-get -qq install --yes --no-install-recommends "${missing[@]}" >/dev/null
echo "setup.sh: installed ${#missing[@]} packages and what they need"
