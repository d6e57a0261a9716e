#!/usr/bin/env python3
"""The code in the documentation is code that tests run: the C++ in README.md the marked region of examples/quick_start.cc, and
each block of docs/formats.md that names a file lines of that file."""
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

    blocks = re.findall(r"<!-- (\S+/\S+) -->\n```\w+\n(.*?)\n```", (root / "docs" / "formats.md").read_text(), re.DOTALL)
    assert blocks, "docs/formats.md has no block that names its file"
    for path, block in blocks:
        lines = [line.strip() for line in (root / path).read_text().splitlines()]
        wanted = [line.strip() for line in block.splitlines()]
        found = any(lines[i:i + len(wanted)] == wanted for i in range(len(lines)))
        assert found, f"docs/formats.md: these lines are not in {path}:\n{block}"


if __name__ == "__main__":
    main()
