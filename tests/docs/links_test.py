#!/usr/bin/env python3
"""Every relative link in README.md and docs/ leads to a file or folder of the tree."""
import pathlib
import re
import sys


def main():
    root = pathlib.Path(sys.argv[1])
    pages = [root / "README.md", *sorted((root / "docs").rglob("*.md"))]
    broken = []
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith("http") and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(root)}: {target}")
    assert len(pages) > 1 and not broken, broken


if __name__ == "__main__":
    main()
