#!/usr/bin/env python3
"""Makes the training and test rows of the package-links task from snapshot.tsv.xz. Same input, same bytes.

    ./make_rows.py --snapshot snapshot.tsv.xz --out DIR [--limit PACKAGES]

The question of a row: does this package depend on this candidate? For each package and each of its dependencies that at
least 5 packages have (the candidates), one positive row and two negatives, drawn by popularity^0.75 from the candidates
the package does not have. All three carry the same basket: the package's other dependencies. A fifth of the packages,
chosen by a hash of the name, makes the test rows; the others make two halves of training rows. Only Python's standard
library is needed.

Writes train.0.tsv.gz, train.1.tsv.gz, test.tsv.gz (each with a header line), the vocabularies candidates.txt, sections.txt
and tags.txt, and a data spec for each: train.0.json, train.1.json, test.json.
"""
import argparse
import bisect
import collections
import gzip
import itertools
import json
import lzma
import os
import random
import re
import zlib

MIN_USES = 5
NEGATIVES = 2
TEST_SHARE = 5  # one in five packages
PARTS = ("train.0", "train.1", "test")
SEED = 20260101

COLUMNS = ("label", "section", "prefix", "suffix", "first", "candidate", "candidate_section", "candidate_first",
           "candidate_suffix", "basket", "tags")


def read_snapshot(path):
    with lzma.open(path, "rt") as lines:
        for line in lines:
            name, section, depends, tags = line.rstrip("\n").split("\t")
            yield name, section, depends.split(",") if depends else [], tags.split(",") if tags else []


def name_fields(name):
    """First 4 letters, ending, and first part of a package name: libfoo-bar-dev -> libf, dev, libfoo."""
    parts = re.split(r"[-.+0-9]+", name)
    parts = [part for part in parts if part] or [name]
    return name[:4], parts[-1], parts[0]


def part_of(name):
    """Which file the rows of a package go to."""
    hashed = zlib.crc32(name.encode())
    return "test" if hashed % TEST_SHARE == 0 else f"train.{hashed // TEST_SHARE % 2}"


def data_spec(part):
    """How `eqat train` and `eqat eval` read the rows: which column feeds which placeholder of make_model's graph."""
    def field(column, encoding, **options):
        return {"input": f"{column}_ids", "column": column, "encoding": encoding, **options}

    def vocabulary(column, file, **options):
        return field(column, "vocabulary", vocabulary=file, **options)

    def hashed(column, buckets):
        return field(column, "hash", buckets=buckets)

    return {
        "version": 1,
        "files": [f"{part}.tsv.gz"],
        "header": True,
        "label": {"column": "label"},
        "categorical": [
            vocabulary("section", "sections.txt"),
            hashed("prefix", 4096),
            hashed("suffix", 4096),
            hashed("first", 8192),
            vocabulary("candidate", "candidates.txt"),
            vocabulary("candidate_section", "sections.txt"),
            hashed("candidate_first", 4096),
            hashed("candidate_suffix", 4096),
            vocabulary("basket", "candidates.txt", multi_valued=True, separator=","),
            vocabulary("tags", "tags.txt", multi_valued=True, separator=","),
        ],
    }


class Writer:
    """A gzip file whose bytes depend on its content alone (no time, no name)."""

    def __init__(self, path):
        self._file = open(path, "wb")
        self._gzip = gzip.GzipFile(filename="", mode="wb", fileobj=self._file, compresslevel=1, mtime=0)
        self.rows = 0
        self.write_line(COLUMNS)
        self.rows = 0

    def write_line(self, fields):
        self._gzip.write(("\t".join(fields) + "\n").encode())
        self.rows += 1

    def close(self):
        self._gzip.close()
        self._file.close()


def write_vocabulary(path, words):
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(word + "\n" for word in words)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapshot", default=os.path.join(here, "snapshot.tsv.xz"), metavar="FILE")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the files; made if missing")
    parser.add_argument("--limit", type=int, metavar="N", help="use every package of the statistics, but make rows of "
                        "the first N only (for quick tests)")
    arguments = parser.parse_args()
    os.makedirs(arguments.out, exist_ok=True)

    packages = list(read_snapshot(arguments.snapshot))
    section_of = {name: section for name, section, _, _ in packages}
    uses = collections.Counter(itertools.chain.from_iterable(depends for _, _, depends, _ in packages))
    candidates = sorted(name for name, count in uses.items() if count >= MIN_USES)
    known = set(candidates)
    cumulative = list(itertools.accumulate(uses[name] ** 0.75 for name in candidates))
    candidate_fields = {}
    for name in candidates:
        _, suffix, first = name_fields(name)
        candidate_fields[name] = (name, section_of.get(name, "virtual"), first, suffix)

    generator = random.Random(SEED)
    writers = {part: Writer(os.path.join(arguments.out, f"{part}.tsv.gz")) for part in PARTS}
    for name, section, depends, tags in packages[:arguments.limit]:
        own = [dependency for dependency in depends if dependency in known]
        owned = set(own)
        writer = writers[part_of(name)]
        package_fields = (section, *name_fields(name))
        for dependency in own:
            shared = (",".join(other for other in own if other != dependency), ",".join(tags))
            writer.write_line(("1", *package_fields, *candidate_fields[dependency], *shared))
            for _ in range(NEGATIVES):
                while True:
                    drawn = candidates[bisect.bisect(cumulative, generator.random() * cumulative[-1])]
                    if drawn not in owned:
                        break
                writer.write_line(("0", *package_fields, *candidate_fields[drawn], *shared))
    for part, writer in writers.items():
        writer.close()
        with open(os.path.join(arguments.out, f"{part}.json"), "w", encoding="utf-8") as out:
            json.dump(data_spec(part), out, indent=2)
            out.write("\n")

    write_vocabulary(os.path.join(arguments.out, "candidates.txt"), candidates)
    write_vocabulary(os.path.join(arguments.out, "sections.txt"), sorted(set(section_of.values()) | {"virtual"}))
    write_vocabulary(os.path.join(arguments.out, "tags.txt"), sorted({tag for *_, tags in packages for tag in tags}))
    counts = ", ".join(f"{part} {writer.rows} rows" for part, writer in writers.items())
    print(f"{arguments.out}: {counts}, {len(candidates)} candidates")


if __name__ == "__main__":
    main()
