#!/usr/bin/env python3
"""What frcnn_testkit is for tests in Rust, for those in Python and in shells: skips that FRCNN_REQUIRE makes failures of.

    needs.py WORD WHY    prints a skip and exits 0, or, where FRCNN_REQUIRE names WORD, exits 1
"""

import os
import pathlib
import sys


def known():
    lines = pathlib.Path(__file__).with_name("needs").read_text().splitlines()
    return {line.split()[0] for line in lines if not line.startswith("#")}


def required(word):
    """Whether FRCNN_REQUIRE names what `word` stands for."""
    words = {one.strip() for one in os.environ.get("FRCNN_REQUIRE", "").split(",")} - {""}
    unknown = (words | {word}) - known() - {"all"}
    if unknown:
        raise SystemExit(f"tests/kit/needs does not know {', '.join(sorted(unknown))}")
    return bool(words & {word, "all"})


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    word, why = sys.argv[1:]
    if required(word):
        sys.exit(f"{word} is required (FRCNN_REQUIRE={os.environ['FRCNN_REQUIRE']}) and missing: {why}")
    print(f"skipped: no {word}: {why}")
