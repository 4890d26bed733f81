"""How the command line is read, and how its help is laid out.

Options that several commands share belong to the group. They may stand anywhere on the line, so
that ``mincurate score images --seed 1`` and ``mincurate --seed 1 score images`` are the same.
"""

import itertools
import textwrap
from typing import Any

from typer.core import TyperCommand, TyperGroup

from mincurate.cli import option_checks

ANYWHERE = "--debug"
"""What may stand anywhere beside the shared options."""


class Group(TyperGroup):
    """A group whose shared options may stand before or after the command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments after moving the shared options to the front."""
        options: dict[str, Any] = {
            name: option
            for option in self.params
            if option in option_checks.shared_parameters(self) or ANYWHERE in option.opts
            for name in (*option.opts, *option.secondary_opts)
        }
        shared: list[str] = []
        others: list[str] = []
        words = iter(args)
        for word in words:
            name, equals, _ = word.partition("=")
            if word == "--":
                others += [word, *words]
            elif name not in options:
                others.append(word)
            elif equals or options[name].is_flag:
                shared.append(word)
            else:
                shared += [word, *itertools.islice(words, 1)]
                if shared[-1] is word:
                    ctx.fail(f"Option {name!r} requires an argument.")
        return list(super().parse_args(ctx, shared + others))

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Commands first, then the options by panel."""
        self.format_commands(ctx, formatter)
        _write_panels(self, ctx, formatter)


class Command(TyperCommand):
    """A command that refuses options without effect, and whose help names the shared ones."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        option_checks.check(ctx)
        return super().invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options by panel."""
        _write_panels(self, ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """One line on the shared options."""
        group = ctx.find_root().command
        if names := shared_names(group, option_checks.name_of(ctx)):
            line = f"Also takes {names} (`mincurate --help` explains them)."
            lines = textwrap.wrap(line, formatter.width, break_on_hyphens=False)
            formatter.write_paragraph()
            formatter.write("\n".join(lines) + "\n")

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Completions, with the shared options among them."""
        items = super().shell_complete(ctx, incomplete)
        group = ctx.find_root().command
        if incomplete.startswith("-") and group is not self:
            complete = type(self)(
                None, params=option_checks.shared_parameters(group, option_checks.name_of(ctx))
            )
            items += TyperCommand.shell_complete(complete, ctx, incomplete)
        return items


def shared_names(group: Any, name: str) -> str:
    """The shared options of a command in one line."""
    options = option_checks.shared_parameters(group, name)
    return ", ".join((o.secondary_opts or o.opts)[0] for o in options)


def panels(command: Any, ctx: Any) -> dict[str, list[tuple[str, str]]]:
    """The rows of a command's help by panel: options with their metavar, and what they do."""
    rows: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(ctx):
        if record := parameter.get_help_record(ctx):
            kind = "Arguments" if parameter.param_type_name == "argument" else "Other"
            panel = getattr(parameter, "rich_help_panel", None) or kind
            rows.setdefault(panel, []).append(record)
    return rows


def _write_panels(command: Any, ctx: Any, formatter: Any) -> None:
    """Plain text: Rich would take brackets, as in NAME[/VIEW], for markup."""
    for title, rows in panels(command, ctx).items():
        with formatter.section(title):
            formatter.write_dl(rows)
