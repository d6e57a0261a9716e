"""The Python environment of compare_torch.py and plot_step_time.py: the newest torch of PyPI, NumPy and matplotlib, in a
folder of its own. Distributions' builds of torch are older and lack FBGEMM's kernels, which would flatter us."""
import os
import shutil
import subprocess
import sys

NEEDED_BYTES = 14 << 30  # PyPI's torch for x86-64 comes with CUDA libraries, which stay unused
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def _pip(environment, *arguments, errors=None):
    return subprocess.run([os.path.join(environment, "bin", "python"), "-m", "pip", "install", "--quiet", *arguments],
                          check=False, stderr=errors).returncode == 0


def _make(environment):
    os.makedirs(os.path.dirname(os.path.abspath(environment)), exist_ok=True)
    free = shutil.disk_usage(os.path.dirname(os.path.abspath(environment))).free
    if free < NEEDED_BYTES:
        sys.exit(f"torch needs up to {NEEDED_BYTES >> 30} GB of disk, {free >> 30} GB are free at {environment}")
    print(f"installing torch into {environment}, once", file=sys.stderr)
    if subprocess.run([sys.executable, "-m", "venv", environment], check=False).returncode != 0:
        sys.exit("python3 -m venv failed; on Debian: apt-get install python3-venv")
    # The build without CUDA if its index is to be reached, otherwise PyPI's.
    without_cuda = _pip(environment, "--index-url", CPU_INDEX, "--timeout", "10", "--retries", "0", "torch",
                        errors=subprocess.DEVNULL)
    if not (without_cuda or _pip(environment, "torch")) or not _pip(environment, "numpy", "matplotlib"):
        shutil.rmtree(environment, ignore_errors=True)
        sys.exit("pip could not install torch, numpy and matplotlib")


def enter(environment):
    """Goes on as the same script inside `environment`, which is made if it is missing."""
    if os.path.realpath(sys.prefix) == os.path.realpath(environment):
        return
    if not os.path.exists(os.path.join(environment, "bin", "python")):
        _make(environment)
    python = os.path.join(environment, "bin", "python")
    os.execv(python, [python, os.path.abspath(sys.argv[0]), *sys.argv[1:]])
