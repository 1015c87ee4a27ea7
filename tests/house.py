"""Print the size of the house: `python -m tests.house`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import laser_tools

ROOT = Path(laser_tools.__file__).parent


def functions(tree: ast.AST) -> Iterator[int]:
    """Lines of each function's body, without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            yield (body[-1].end_lineno or 0) - body[0].lineno + 1


def main() -> None:
    files = {path: path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.py"))}
    rooms: dict[str, list[int]] = {}
    for path, text in files.items():
        parts = path.relative_to(ROOT).parts
        rooms.setdefault(parts[0] if len(parts) > 1 else "(hall)", []).append(text.count("\n"))
    lines = [f"{room:<12}{len(n):>4} files {sum(n):>6} lines" for room, n in rooms.items()]
    lengths = sorted(n for text in files.values() for n in functions(ast.parse(text)))
    ignores = sum(text.count("# type: ignore") for text in files.values())
    n_lines = sum(text.count("\n") for text in files.values())
    lines += [
        f"{'all':<12}{len(files):>4} files {n_lines:>6} lines",
        f"functions: {len(lengths)}, lines median {median(lengths):g}, "
        f"p90 {quantiles(lengths, n=10)[-1]:g}, max {lengths[-1]}",
        f"longest file: {max(text.count(chr(10)) for text in files.values())} lines",
        f"type ignores: {ignores}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
