"""The plugin computes and writes by pipelines alone."""

import ast
from pathlib import Path

PLUGIN = Path(__file__).parents[2] / "plugins" / "mincurate"
ALLOWED = ("mincurate.pipelines", "mincurate.errors", "mincurate.progress", "mincurate.text")


def imported(path):
    """Modules of mincurate that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.startswith("mincurate."))


def test_the_plugin_imports_pipelines_and_the_base_alone():
    names = [(path.name, name) for path in PLUGIN.glob("*.py") for name in imported(path)]
    assert len(names) > 30
    assert [pair for pair in names if not pair[1].startswith(ALLOWED)] == []
