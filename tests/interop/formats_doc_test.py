#!/usr/bin/env python3
"""Runs the marked commands and programs of docs/formats.md, in order and as they stand, in one folder.

    formats_doc_test.py EQAT
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile


def main():
    eqat = pathlib.Path(sys.argv[1]).resolve()
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    text = (root / "docs" / "formats.md").read_text()
    blocks = re.findall(r"<!-- run -->\n```(python|sh)\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 9, len(blocks)
    with tempfile.TemporaryDirectory() as work:
        os.symlink(root / "configs", os.path.join(work, "configs"))
        environment = dict(os.environ, PATH=f"{eqat.parent}:{os.environ['PATH']}")
        for language, code in blocks:
            print(code, flush=True)
            command = [sys.executable, "-c", code] if language == "python" else ["bash", "-euo", "pipefail", "-c", code]
            subprocess.run(command, check=True, cwd=work, env=environment)


if __name__ == "__main__":
    main()
