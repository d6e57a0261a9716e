#!/usr/bin/env python3
"""Plants mistakes in a copy of a small tree and expects check_layering.py to name each of them, and nothing in a clean one."""
import pathlib
import subprocess
import sys
import tempfile

CLEAN = {
    "core/a.h": "#include <vector>\n",
    "io/b.cc": '#include "core/a.h"\n#include "nlohmann/json.hpp"\n',
    "quant/kernels/c.cc": '#include "hwy/highway.h"\n',
}
MISTAKES = {
    "core/up.h": ('#include "io/b.h"\n', "core/up.h:1: core must not include io/b.h"),
    "quant/json.cc": ('\n#include "nlohmann/json.hpp"\n', "quant/json.cc:2: nlohmann/json.hpp is for"),
    "qat/eigen.h": ("#include <Eigen/Core>\n", "qat/eigen.h:1: Eigen/Core belongs in a source"),
    "quant/word.cc": ("// one Embedding\n", "quant/word.cc:1: quant says 'Embedding'"),
    "float_modules/down.cc": ('#include "quant/fake_quantize.h"\n', "float_modules must not include quant/fake_quantize.h"),
}


def run(checker, files, root):
    for path, text in files.items():
        file = pathlib.Path(root, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return subprocess.run([sys.executable, checker, root], capture_output=True, text=True)


def main():
    checker = sys.argv[1]
    table = pathlib.Path(checker).parent.parent / "docs" / "architecture.md"
    files = dict(CLEAN, **{"docs/architecture.md": table.read_text()})
    with tempfile.TemporaryDirectory() as root:
        clean = run(checker, files, root)
        assert clean.returncode == 0, clean.stdout
        for path, (text, message) in MISTAKES.items():
            files[path] = text
        found = run(checker, files, root)
        assert found.returncode == 1, found.stdout
        for _, message in MISTAKES.values():
            assert message in found.stdout, f"not reported: {message}\n{found.stdout}"
        assert f"{len(MISTAKES)} problems" in found.stdout, found.stdout
        files["docs/architecture.md"] = files["docs/architecture.md"].replace("| `io` | `core` |", "| `io` | (itself) |")
        assert "docs/architecture.md: row of `io`" in run(checker, files, root).stdout


if __name__ == "__main__":
    main()
