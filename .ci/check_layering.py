#!/usr/bin/env python3
"""Checks that every #include goes the one allowed way between the folders.

Reports every include that does not, with file and line, and every folder of sources it has no rule for. The table is the
one of docs/architecture.md, which must list the same rules.
"""
import pathlib
import re
import sys

ALLOWED = {  # layer (a folder) -> the layers it may include
    "core": {"core"},
    "io": {"core", "io"},
    "quant/types": {"core", "quant/types"},
    "quant": {"core", "quant/types", "quant"},
    "float_modules": {"core", "quant/types", "float_modules"},
    "quantized": {"core", "quant/types", "quant", "float_modules", "quantized"},
    "qat": {"core", "quant/types", "quant", "float_modules", "quantized", "qat"},
    "configs": {"core", "io", "quant/types", "configs"},
    "model": {"core", "io", "quant/types", "quant", "float_modules", "quantized", "qat", "configs", "model"},
    "formats": {"core", "io", "quant/types", "quant", "float_modules", "quantized", "qat", "configs", "model", "formats"},
    "train": {"core", "io", "quant/types", "quant", "float_modules", "quantized", "qat", "configs", "model", "formats",
              "train"},
    "cli": {"core", "io", "quant/types", "quant", "float_modules", "quantized", "qat", "configs", "model", "formats", "train",
            "cli"},
}
# Headers that only the named layers may include: JSON stays at the edge, Highway in kernels, and so on.
RESTRICTED = {
    "nlohmann/": {"io", "configs", "model", "formats", "train", "cli"},
    "hwy/": {"core", "quant", "float_modules", "train"},
    "CLI/": {"cli"},
    "zip.h": {"io"},
    "zlib.h": {"io"},
    "google/protobuf/": {"io"},
    "re2/": {"quant/types"},
}
ONLY_IN_SOURCES = ("Eigen/", "hwy/")  # never in a header: layouts depend on vector flags (kernels' -inl.h aside)
WORDS = {"quant": re.compile(r"embedding", re.IGNORECASE)}  # what a layer never says
INCLUDE = re.compile(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]')


def layer_of(path):
    return max((layer for layer in ALLOWED if path.startswith(layer + "/")), key=len, default=None)


def check(root):
    problems = []
    for file in sorted(root.rglob("*")):
        path = file.relative_to(root).as_posix()
        layer = layer_of(path)
        if layer is None or file.suffix not in (".h", ".cc"):
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            where = f"{path}:{number}"
            match = INCLUDE.match(line)
            if not match:
                word = WORDS.get(layer) and WORDS[layer].search(line)
                if word:
                    problems.append(f"{where}: {layer} says {word.group()!r}, a word of the modules above it")
                continue
            header = match.group(1)
            target = layer_of(header)
            if target and target not in ALLOWED[layer]:
                problems.append(f"{where}: {layer} must not include {header} (allowed: {', '.join(sorted(ALLOWED[layer]))})")
            for prefix, layers in RESTRICTED.items():
                if header.startswith(prefix) and layer not in layers:
                    problems.append(f"{where}: {header} is for {', '.join(sorted(layers))} alone")
            if file.suffix == ".h" and header.startswith(ONLY_IN_SOURCES) and not path.endswith("-inl.h"):
                problems.append(f"{where}: {header} belongs in a source, not in a header")
    return problems


def documented_layers(root):
    text = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_/]+)` \| ([^|]+) \|", text, re.MULTILINE)
    return {layer: set(re.findall(r"`([a-z_/]+)`", allowed)) | {layer} for layer, allowed in rows if layer in ALLOWED}


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    problems = check(root)
    documented = documented_layers(root)
    for layer, allowed in ALLOWED.items():
        if documented.get(layer) != allowed:
            problems.append(f"docs/architecture.md: row of `{layer}` says {sorted(documented.get(layer, []))}, "
                            f"the rule is {sorted(allowed)}")
    for problem in problems:
        print(problem)
    print(f"check_layering: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
