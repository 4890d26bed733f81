"""Writes the reference of every command from the command line itself, while MkDocs builds the site.

A hook of MkDocs: there is no file that could be out of date. ``python docs/commands_page.py``
prints the page.
"""

import inspect
from collections.abc import Iterator
from typing import Any

TITLE = """# Commands

Written from the command line itself. `mincurate COMMAND --help` prints the same.
`--debug` goes with every command and shows the traceback of an error; `--version` shows the
version. Exit codes: 0 done, 1 something you can fix, 2 wrong usage, 3 a bug, 130 Ctrl-C.
"""


def on_files(files: Any, *, config: Any) -> Any:
    """Add the page to those that MkDocs builds."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "reference/commands.md", content=page()))
    return files


def commands(group: Any = None, name: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command, with its full name: ``("runs list", command)``."""
    if group is None:
        from typer.main import get_command

        from mincurate.cli import app

        group = get_command(app)
    for child, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*name, child))
        else:
            yield " ".join((*name, child)), command


def page() -> str:
    """The page, in Markdown."""
    return "\n".join([TITLE, *(section(name, command) for name, command in commands())])


def section(name: str, command: Any) -> str:
    """A command: its help, how it is used, its arguments, and its options by panel."""
    context = command.context_class(command, info_name=f"mincurate {name}")
    usage = command.get_usage(context).removeprefix("Usage: ")
    lines = [f"## mincurate {name}", "", inspect.cleandoc(command.help or ""), ""]
    lines += ["```text", usage, "```", ""]
    panels: dict[str, list[str]] = {}
    for parameter in command.params:
        kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
        panel = getattr(parameter, "rich_help_panel", None) or kind
        names, told = parameter.get_help_record(context)
        panels.setdefault(panel, []).append(f"- `{names}`: {' '.join(told.split())}")
    for panel, entries in panels.items():
        lines += [f"**{panel}**", "", *entries, ""]
    return "\n".join(lines)


if __name__ == "__main__":
    print(page())
