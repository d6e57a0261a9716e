#!/usr/bin/env python3
"""The C++ in README.md is, line for line, the marked region of examples/quick_start.cc, which is built and run as a test."""
import pathlib
import re
import sys
import textwrap


def main():
    root = pathlib.Path(sys.argv[1])
    source = (root / "examples" / "quick_start.cc").read_text()
    region = re.search(r"// README: begin\n(.*?)\n *// README: end", source, re.DOTALL).group(1)
    readme = (root / "README.md").read_text()
    match = re.search(r"<!-- examples/quick_start.cc -->\n```cpp\n(.*?)\n```", readme, re.DOTALL)
    assert match, "README.md has no snippet marked <!-- examples/quick_start.cc -->"
    expected = textwrap.dedent(region)
    assert match.group(1) == expected, f"README.md's snippet differs from examples/quick_start.cc; it should be:\n{expected}"


if __name__ == "__main__":
    main()
