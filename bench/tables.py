"""Markdown tables, and the files that they go to.

Examples
--------
>>> print(table(["program", "ms"], [("stock", 2), ("a|b", "")]))
| program | ms |
|---|---|
| stock | 2 |
| a/b | |
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable


def row(cells: Iterable[object]) -> str:
    """One line of a table; a bar in a cell becomes a slash."""
    texts = (str(cell).replace("|", "/") for cell in cells)
    return "|" + "|".join(f" {text} " if text else " " for text in texts) + "|"


def head(names: Iterable[object]) -> str:
    """The first two lines of a table, for one whose rows are printed as they come."""
    first = list(names)
    return f"{row(first)}\n{'|---' * len(first)}|"


def table(names: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A whole table, without a newline at its end."""
    return "\n".join([head(names), *map(row, rows)])


def write(path: pathlib.Path, text: str) -> None:
    """Write a text to a file, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
