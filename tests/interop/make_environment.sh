#!/usr/bin/env bash
# Makes the Python environment of the interop tests: Debian's PyTorch and NumPy, and the packages of requirements.txt.
#
#   make_environment.sh DIR     does nothing when DIR is up to date; builds may share one
set -euo pipefail
requirements="$(dirname "${BASH_SOURCE[0]}")/requirements.txt"
environment=${1:?a folder}

exec 9>"$environment.lock"
flock 9
cmp -s "$requirements" "$environment/requirements.txt" && exit 0
rm -rf "$environment"
/usr/bin/python3 -m venv --system-site-packages "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check --retries 3 --requirement "$requirements"
cp "$requirements" "$environment/requirements.txt"
