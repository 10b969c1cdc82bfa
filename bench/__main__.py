"""`python -m bench [NAME ...]`: run the benchmarks and print the ratios as JSON, one line each."""

from __future__ import annotations

import json
import sys
from importlib import import_module

NAMES = (
    "dedup",
    "scoring",
    "encoding",
    "reading",
    "search",
    "neighbours",
    "kcenter",
    "deita",
    "selection",
    "extraction",
    "cleaning",
    "pipeline",
    "keywords",
)


def main() -> None:
    """Run the benchmarks that are named, or all."""
    for name in sys.argv[1:] or NAMES:
        if name not in NAMES:
            sys.exit(f"error: unknown benchmark {name!r}; allowed: {', '.join(NAMES)}")
        print(json.dumps({"benchmark": name, **import_module(f"bench.{name}").run()}))


if __name__ == "__main__":
    main()
