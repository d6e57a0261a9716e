"""npz and .vec exports: NumPy and the fasttext program read what eqat looks up.

    export_values_test.py EQAT
"""

import pathlib
import subprocess
import sys

import numpy as np

from eqat_models import Failure, Workspace, check_equal, qconfig, table

ROWS = 25


def numpy_reads_npz(work):
    tables = {"item": (table(work.rng, ROWS, 9), "EmbeddingBag", {"mode": "mean"}),
              "tower.user": (table(work.rng, ROWS, 4), "Embedding", {})}
    model = work.quantized_model("two", tables, qconfig(4))
    with np.load(work.export(model, "npz", "tables.npz")) as arrays:
        assert sorted(arrays) == sorted(tables), list(arrays)
        check_equal("item", work.values(model, "item", ROWS, is_bag=True), arrays["item"])
        check_equal("tower.user", work.values(model, "tower.user", ROWS), arrays["tower.user"])
    print("npz: 0 differing")


def numpy_reads_vec(work):
    for cols in (1, 7, 32):
        model = work.quantized_model("one", {"item": (table(work.rng, ROWS, cols), "Embedding", {})}, qconfig(8))
        lines = pathlib.Path(work.export(model, "vec", "table.vec")).read_text().splitlines()
        assert lines[0].split() == [str(ROWS), str(cols)], lines[0]
        words, *_ = zip(*(line.split(" ") for line in lines[1:]))
        assert list(words) == [str(row) for row in range(ROWS)]
        values = np.array([line.split()[1:] for line in lines[1:]], np.float32)
        check_equal(f"{cols} columns", work.values(model, "item", ROWS), values)
    print("vec: 0 differing")


def fasttext_reads_vec(work):
    """As pretrained vectors of a model that learns nothing; fasttext prints five digits."""
    words = [f"w{row}" for row in range(ROWS)]
    pathlib.Path(work.path("words")).write_text("\n".join(words) + "\n")
    pathlib.Path(work.path("text")).write_text("__label__a w0 w1\n")
    model = work.quantized_model("spoken", {"item": (table(work.rng, ROWS, 6), "Embedding", {})}, qconfig(8))
    file = work.export(model, "vec", "words.vec", "--words", work.path("words"))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True}
    subprocess.run(["fasttext", "supervised", "-input", work.path("text"), "-output", work.path("learned"), "-dim", "6",
                    "-epoch", "0", "-thread", "1", "-pretrainedVectors", file], **quiet)
    printed = subprocess.run(["fasttext", "print-word-vectors", work.path("learned.bin")], input="\n".join(words),
                             stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert [line.split()[0] for line in printed] == words, printed[:3]
    theirs = np.array([line.split()[1:] for line in printed], np.float64)
    ours = work.values(model, "item", ROWS).astype(np.float64)
    assert (np.abs(theirs - ours) <= 1e-4 * np.abs(ours) + 1e-30).all(), np.abs(theirs - ours).max()
    print(f"vec read by fasttext: {ROWS} words, equal in the digits that it prints")


def imported_words_come_back(work):
    """fasttext's own kind of file, imported, quantized, exported: the words of vocabulary.txt."""
    weight = table(work.rng, 3, 4)
    lines = [f"{word} {' '.join(map(repr, map(float, row)))}" for word, row in zip(("a", "é", "</s>"), weight)]
    pathlib.Path(work.path("in.vec")).write_text("3 4\n" + "\n".join(lines) + "\n")
    work.run("import", work.path("in.vec"), "--out", work.path("words-in"))
    exported = pathlib.Path(work.export(work.path("words-in"), "vec", "out.vec")).read_text().splitlines()
    assert [line.split()[0] for line in exported[1:]] == ["a", "é", "</s>"], exported
    check_equal("imported", weight, np.array([line.split()[1:] for line in exported[1:]], np.float32))
    print("vec: words of an imported file kept")


def what_vec_cannot_hold_is_refused(work):
    model = work.path("two")
    pathlib.Path(work.path("many")).write_text("word\n" * (ROWS + 1))
    pathlib.Path(work.path("blank")).write_text("a b\n" * ROWS)
    for more, part in (([], "one, chosen with --module"), (["--module", "item", "--words", work.path("many")], "more words than rows"),
                       (["--module", "item", "--words", work.path("blank")], "a b")):
        try:
            work.export(model, "vec", "never.vec", *more)
            raise AssertionError(f"vec took {more}")
        except Failure as failure:
            assert part in str(failure), failure


if __name__ == "__main__":
    workspace = Workspace(sys.argv[1])
    for test in (numpy_reads_npz, numpy_reads_vec, fasttext_reads_vec, imported_words_come_back, what_vec_cannot_hold_is_refused):
        test(workspace)
