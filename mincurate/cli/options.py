"""Which Ray cluster a command computes on: options that several commands take."""

from typing import Annotated

import typer

Address = Annotated[
    str | None,
    typer.Option(
        help="Running Ray cluster: auto, HOST:PORT or ray://HOST:PORT. Default: one is started "
        "on this machine.",
        show_default=False,
    ),
]
NumWorkers = Annotated[
    int | None,
    typer.Option(
        help="Processes on Ray. Default: one per GPU, or per CPU where there is none.",
        show_default=False,
    ),
]
