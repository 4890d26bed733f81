"""Writes the reference of every command from the command line itself, while MkDocs builds the site.

A hook of MkDocs: there is no file that could be out of date. ``python docs/commands_page.py``
prints the page.
"""

import inspect
from collections.abc import Iterator
from typing import Any

TITLE = """# Commands

Written from the command line itself; `mincurate COMMAND --help` prints the same.
Exit codes: 0 done, 1 something you can fix, 2 wrong usage, 3 a bug, 130 Ctrl-C.
An option that would have no effect is refused.

## Shared options

They may stand before or after the command, which names those it takes.
"""


def on_files(files: Any, *, config: Any) -> Any:
    """Add the page to those that MkDocs builds."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "reference/commands.md", content=page()))
    return files


def app() -> Any:
    """The whole command line."""
    from typer.main import get_command

    from mincurate import cli

    return get_command(cli.app)


def commands(group: Any = None, name: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command, with its full name: ``("runs list", command)``."""
    group = group or app()
    for child, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*name, child))
        else:
            yield " ".join((*name, child)), command


def page() -> str:
    """The page, in Markdown."""
    group = app()
    shared = rows(group, group.context_class(group, info_name="mincurate"))
    return "\n".join(
        [TITLE, *shared, *(section(group, name, command) for name, command in commands(group))]
    )


def section(group: Any, name: str, command: Any) -> str:
    """A command: its help, how it is used, its arguments, its options by panel, shared ones."""
    from mincurate.cli.parsing import shared_names

    context = command.context_class(command, info_name=f"mincurate {name}")
    usage = command.get_usage(context).removeprefix("Usage: ")
    lines = [f"## mincurate {name}", "", inspect.cleandoc(command.help or ""), ""]
    lines += ["```text", usage, "```", "", *rows(command, context)]
    if names := shared_names(group, name):
        lines += [f"Also takes the [shared options](#shared-options) `{names}`.", ""]
    return "\n".join(lines)


def rows(command: Any, context: Any) -> Iterator[str]:
    """The panels of a command's help, as lists."""
    from mincurate.cli.parsing import panels

    for panel, records in panels(command, context).items():
        entries = [
            f"- `{names}`: {' '.join(text.split())}"
            for names, text in records
            if "--help" not in names
        ]
        if entries:
            title = panel.removeprefix("Shared options: ").capitalize()
            yield from (f"**{title}**", "", *entries, "")


if __name__ == "__main__":
    print(page())
