"""Functions of at most 80 lines in modules of at most 400; ruff holds parameters and branches."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(p for folder in ("mincurate", "plugins") for p in (ROOT / folder).rglob("*.py"))
LINES_OF_A_FUNCTION, LINES_OF_A_MODULE = 80, 400


def too_long(path: Path) -> list[str]:
    """The module itself, and those of its functions, that have too many lines."""
    text = path.read_text()
    lines = {f"the module: {n} lines": n - LINES_OF_A_MODULE for n in [len(text.splitlines())]}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            n = (node.end_lineno or 0) - node.lineno + 1
            lines[f"{node.name}: {n} lines"] = n - LINES_OF_A_FUNCTION
    return [name for name, excess in lines.items() if excess > 0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_are_short(path):
    assert too_long(path) == []
