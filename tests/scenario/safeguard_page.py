"""The table of safeguards in docs/why/proof.md; prints it when run: PYTHONPATH=tests:tests/scenario."""

import sys
from typing import Final

from switches import SAFEGUARDS

__all__ = ["table"]

HEAD: Final = ("| safeguard | what it is for | figure of its scenario | at most |", "|---|---|---|---|")


def table() -> str:
    """Return the table as Markdown."""
    rows = [f"| {name} | {s.promise} | {s.figure} | {s.most:g} |" for name, s in SAFEGUARDS.items()]
    return "\n".join([*HEAD, *rows])


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
