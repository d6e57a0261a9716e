#!/usr/bin/env python3
"""Makes snapshot.tsv.xz, the facts about Debian's packages from which the package-links task is built.

    apt-get update && apt-cache dumpavail | ./make_snapshot.py --out snapshot.tsv.xz

Kept, one line a package, ascending by name: name, section, dependencies (Depends and Pre-Depends, the first of each
group of alternatives, without versions), debtags. Nothing else: no maintainers, no descriptions. Only packages of
Debian's main archive; of several versions of a package the first listed counts.
"""
import argparse
import lzma
import re
import sys

NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")


def stanzas(stream):
    fields, key = {}, None
    for line in stream:
        line = line.rstrip("\n")
        if not line:
            if fields:
                yield fields
            fields, key = {}, None
        elif line[0] in " \t":
            fields[key] += " " + line.strip()
        else:
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    if fields:
        yield fields


def dependencies(fields):
    names = set()
    for field in ("Pre-Depends", "Depends"):
        for group in fields.get(field, "").split(","):
            match = NAME.match(group.strip())
            if match:
                names.add(match.group())
    return sorted(names - {fields["Package"]})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, metavar="FILE", help="where to write the snapshot")
    arguments = parser.parse_args()
    packages = {}
    for fields in stanzas(sys.stdin):
        name = fields["Package"]
        foreign = not fields.get("Filename", "").startswith("pool/main/") or "nodesource" in fields["Version"]
        if foreign or name in packages:
            continue
        tags = sorted(set(re.split(r",\s*", fields["Tag"]))) if "Tag" in fields else []
        packages[name] = (fields.get("Section", "unknown"), dependencies(fields), tags)
    lines = ["\t".join((name, section, ",".join(depends), ",".join(tags)))
             for name, (section, depends, tags) in sorted(packages.items())]
    with lzma.open(arguments.out, "wt", preset=9 | lzma.PRESET_EXTREME) as out:
        out.write("\n".join(lines) + "\n")
    links = sum(len(depends) for _, depends, _ in packages.values())
    print(f"{arguments.out}: {len(packages)} packages, {links} links")


if __name__ == "__main__":
    main()
