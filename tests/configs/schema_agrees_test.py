#!/usr/bin/env python3
"""Shows that the JSON Schema of qconfig files and the parser accept and refuse the same files.

usage: schema_agrees_test.py CHECK_QCONFIG SOURCE_ROOT

CHECK_QCONFIG prints "ok PATH" or "error PATH MESSAGE" for each file. Files in invalid_beyond_schema break rules that JSON
Schema cannot state (or that JSON libraries hide, like duplicate keys): the schema takes them, the parser does not.
"""
import json
import pathlib
import subprocess
import sys

import jsonschema


def main() -> int:
    check_qconfig, root = sys.argv[1], pathlib.Path(sys.argv[2])
    schema = json.loads((root / "configs/schema/qconfig_mapping.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)

    data = root / "tests/data/configs"
    expected = {}  # path: (schema accepts, parser accepts)
    for folder, verdict in [
        (root / "configs", (True, True)),
        (data / "valid", (True, True)),
        (data / "invalid", (False, False)),
        (data / "invalid_beyond_schema", (True, False)),
    ]:
        paths = sorted(folder.glob("*.json"))
        if not paths:
            print(f"{folder}: no files")
            return 1
        expected.update({str(path): verdict for path in paths})

    lines = subprocess.run([check_qconfig, *expected], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    parser = {line.split(" ", 2)[1]: line.split(" ", 2)[0] == "ok" for line in lines}
    wrong = 0
    for path, verdict in expected.items():
        schema_accepts = validator.is_valid(json.loads(pathlib.Path(path).read_text()))
        if (schema_accepts, parser[path]) != verdict:
            print(f"{path}: schema accepts {schema_accepts}, parser {parser[path]}; expected {verdict}")
            wrong += 1
    print(f"{len(expected)} files, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
