"""``mincurate launch`` and ``mincurate report``."""

from typing import Annotated

import typer

from mincurate.cli.options import BASIC
from mincurate.terminal import Terminal


def launch(
    dataset: Annotated[
        str | None, typer.Argument(help="FiftyOne dataset. Default: the one scored last.")
    ] = None,
    *,
    port: Annotated[int, typer.Option(help="Port of the App.", rich_help_panel=BASIC)] = 5151,
    address: Annotated[
        str, typer.Option(help="Address the App listens at.", rich_help_panel=BASIC)
    ] = "localhost",
    remote: Annotated[
        bool,
        typer.Option(
            "--remote/--local", help="Open no browser, or open one.", rich_help_panel=BASIC
        ),
    ] = False,
    plugin: Annotated[
        bool,
        typer.Option(
            "--plugin/--no-plugin",
            help="Install or update the App's plugin first, or leave it alone.",
            rich_help_panel=BASIC,
        ),
    ] = True,
) -> None:
    """Open the FiftyOne App on the ranked images, rarest first.

    The panel Long tail, with histogram and map, stands beside them. Ctrl-C closes the App.
    """
    from mincurate.pipelines import launch as pipeline

    pipeline.launch(
        dataset,
        port=port,
        address=address,
        remote=remote,
        plugin=plugin,
        wait=True,
        reporter=Terminal(),
    )


def report(
    run: Annotated[
        str | None,
        typer.Argument(help="Key, number or folder of a run. Default: the one scored last."),
    ] = None,
) -> None:
    """Write the HTML report of a run again, and print where it is."""
    from mincurate.errors import UserError
    from mincurate.report import run_page
    from mincurate.runs import store

    scored = store.find(run, kind=store.SCORE)
    if store.kind_of(scored) == store.AUGMENT:
        raise UserError(
            f"{scored.key} holds generated images; write its page with "
            f"`mincurate evaluate {scored.key}`."
        )
    store.check_scored(scored)
    Terminal().say(str(run_page.write_report(scored)))
