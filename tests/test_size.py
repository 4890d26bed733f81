"""Functions of at most 80 lines in modules of at most 400; ruff holds parameters and branches.

Commands and public entry points have a parameter for each option, described where it stands: there
signature and docstring do not count.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(p for folder in ("mincurate", "plugins") for p in (ROOT / folder).rglob("*.py"))
LINES_OF_A_FUNCTION, LINES_OF_A_MODULE = 80, 400


def first_line(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The line of the first statement after the docstring."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[0].lineno if body else node.lineno


def too_long(path: Path) -> list[str]:
    """The module itself, and those of its functions, that have too many lines."""
    text, entry = path.read_text(), path.parent.name in ("cli", "pipelines")
    lines = {f"the module: {n} lines": n - LINES_OF_A_MODULE for n in [len(text.splitlines())]}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            n = (node.end_lineno or 0) - (first_line(node) if entry else node.lineno) + 1
            lines[f"{node.name}: {n} lines"] = n - LINES_OF_A_FUNCTION
    return [name for name, excess in lines.items() if excess > 0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_are_short(path):
    assert too_long(path) == []
