"""``mincurate launch`` and ``mincurate report``."""

from typing import Annotated

import typer

from mincurate.cli.console import Terminal


def launch(
    dataset: Annotated[
        str | None, typer.Argument(help="FiftyOne dataset. Default: the one scored last.")
    ] = None,
    *,
    port: Annotated[int, typer.Option(help="Port of the App.")] = 5151,
    address: Annotated[str, typer.Option(help="Address the App listens on.")] = "localhost",
    remote: Annotated[
        bool, typer.Option("--remote/--local", help="Serve only, and open no browser.")
    ] = False,
    plugin: Annotated[
        bool,
        typer.Option(
            "--plugin/--no-plugin", help="Install or update the App's plugin first, or leave it."
        ),
    ] = True,
) -> None:
    """Open the FiftyOne App on the ranked images: most minority first, with the map beside them.

    Stays until Ctrl-C.
    """
    from mincurate.dataset import launch as dataset_launch
    from mincurate.dataset import lookup
    from mincurate.errors import UserError

    reporter = Terminal()
    dataset = dataset or lookup.last_dataset(reporter)
    if dataset is None:
        raise UserError("No dataset has been written yet; make one with `mincurate score PATH`.")
    panel = _install(reporter) if plugin else False
    dataset_launch.open_app(
        dataset, port=port, address=address, remote=remote, long_tail=panel, reporter=reporter
    )


def _install(reporter: Terminal) -> bool:
    """Whether the plugin is there now.

    The App opens without it too, so that what is wrong with it is no more than said.
    """
    from mincurate.dataset import plugin as dataset_plugin
    from mincurate.errors import UserError

    try:
        found, done = dataset_plugin.install()
    except UserError as error:
        reporter.warn(f"{error} The App opens without it (--no-plugin says nothing of this).")
        return False
    if done != "unchanged":
        reporter.say(f"The App's plugin is {done}: {found.link} (`--no-plugin` leaves it alone).")
    return True


def report(
    run: Annotated[
        str | None,
        typer.Argument(help="Key, number or folder of a run. Default: the one scored last."),
    ] = None,
) -> None:
    """Write the HTML report and the figures of a run again, and say where the report is."""
    from mincurate.errors import UserError
    from mincurate.report import run_page
    from mincurate.runs import store

    found = store.find(run, kind=store.SCORE)
    if store.kind_of(found) == store.AUGMENT:
        raise UserError(
            f"{found.key} holds generated images; its page is made by "
            f"`mincurate evaluate {found.key}`."
        )
    Terminal().say(str(run_page.write_report(found)))
