#!/usr/bin/env python3
"""Runs the commands of README.md's command-line section, as they stand, on a small model and data set.

    readme_commands_test.py SOURCE_DIR EQAT MAKE_MODEL
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile


def main():
    root, eqat, make_model = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    block = re.search(r"<!-- commands -->\n```sh\n(.*?)```", (root / "README.md").read_text(), re.DOTALL).group(1)
    commands = [line.split("#")[0].strip() for line in block.splitlines() if line.strip()]
    assert len(commands) >= 5, commands
    with tempfile.TemporaryDirectory() as work:
        links = root / "examples" / "package_links"
        subprocess.run([links / "make_rows.py", "--out", work, "--limit", "500"], check=True)
        subprocess.run([make_model, work, os.path.join(work, "float")], check=True)
        shutil.copy(os.path.join(work, "train.0.json"), os.path.join(work, "train.json"))
        shutil.copy(links / "train.json", os.path.join(work, "train_config.json"))
        os.symlink(root / "configs", os.path.join(work, "configs"))
        environment = dict(os.environ, PATH=f"{eqat.parent}:{os.environ['PATH']}")
        for command in commands:
            print("$", command, flush=True)
            subprocess.run(command, shell=True, check=True, cwd=work, env=environment)


if __name__ == "__main__":
    main()
