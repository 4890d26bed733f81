"""``mincurate plugins install|path|uninstall``."""

import typer

from mincurate.cli.parsing import Command
from mincurate.terminal import Terminal

app = typer.Typer(help="The plugin for the FiftyOne App.", no_args_is_help=True)


@app.command("install", cls=Command)
def install() -> None:
    """Link the plugin into FiftyOne's folder of plugins; `mincurate launch` does this as well.

    The folder is FIFTYONE_PLUGINS_DIR, or ~/fiftyone/__plugins__.
    """
    from mincurate.dataset import plugin

    state, change = plugin.install()
    words = {"installed": "Installed", "updated": "Updated", "unchanged": "Already installed"}
    Terminal().say(f"{words[change]}: {state.link} -> {state.source} (version {state.version})")


@app.command("path", cls=Command)
def path() -> None:
    """Print the folder of the plugin, to link or copy by hand."""
    from mincurate.dataset import plugin

    typer.echo(str(plugin.path()))


@app.command("uninstall", cls=Command)
def uninstall() -> None:
    """Remove the plugin's link from FiftyOne's folder of plugins."""
    from mincurate.dataset import plugin

    removed = plugin.uninstall()
    Terminal().say(f"Removed {removed}." if removed else "The plugin is not installed.")
