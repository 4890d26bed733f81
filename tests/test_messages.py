"""Every option and command that a message or a docstring names exists."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

from commands_page import app, commands  # noqa: E402

FOREIGN = {"--head", "--only", "--sigmas", "--dbpath"}
"""Options of `ray start`, of mongod and of scripts in benchmarks."""
PROSE = {"again", "does", "has", "in", "is", "keeps", "made", "process", "reads", "scores", "will"}
PROSE |= {"created", "on", "would"}
"""Words that follow the name mincurate in a sentence."""
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
COMMAND = re.compile(r"\bmincurate ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")


def texts(path: Path) -> Iterator[tuple[str, bool]]:
    """Texts of a file, and whether each is documentation: of f-strings without their values."""
    if path.suffix != ".py":
        yield path.read_text(), False
        return
    tree = ast.parse(path.read_text())
    documentation, parts = set(), set()
    for node in ast.walk(tree):
        body = getattr(node, "body", [])
        for statement in body if isinstance(body, list) else []:
            if isinstance(statement, ast.Expr):
                documentation.add(statement.value)
        if isinstance(node, ast.JoinedStr):
            parts.update(ast.walk(node))
            values = (v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
            yield "".join(values), False
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in parts:
            yield node.value, node in documentation


def all_texts() -> Iterator[tuple[str, str, bool]]:
    """Every text, with its file, of the package, its templates and the plugin."""
    for folder in ("mincurate", "plugins"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".j2"):
                for text, documentation in texts(path):
                    plain = re.sub(r"var\(--[a-z-]+\)", "", " ".join(text.split()))  # CSS
                    yield str(path.relative_to(ROOT)), plain, documentation


def test_every_option_that_a_text_names_exists():
    options = {"--help", *FOREIGN}
    for command in (app(), *dict(commands()).values()):
        for parameter in command.params:
            options |= {*parameter.opts, *parameter.secondary_opts}
    named = [(file, option) for file, text, _ in all_texts() for option in OPTION.findall(text)]
    assert len(named) > 200
    assert [pair for pair in named if pair[1] not in options] == []


def test_every_command_that_a_text_names_exists():
    names = {name for name, _ in commands()}
    groups = {name.split()[0] for name in names if " " in name}
    wrong, count = [], 0
    for file, text, documentation in all_texts():
        # Docstrings speak of mincurate in many sentences; their commands stand in backticks.
        for spoken in re.findall(r"`([^`]*)`", text) if documentation else [text]:
            for first, second in COMMAND.findall(spoken):
                count += 1
                ok = first in names or (first in groups and f"{first} {second}" in names)
                if not ok and first not in PROSE:
                    wrong.append((file, f"{first} {second}"))
    assert count > 40
    assert wrong == []
