"""The options that several commands share, and the keyword arguments that they become."""

from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

import typer

METHOD = "Shared options: method"
COMPUTING = "Shared options: computing"
BUDGETS = "Shared options: training budgets"
RESULTS = "Shared options: results"


@dataclass(frozen=True)
class Shared:
    """What was given of the shared options; ``None`` leaves it to the command."""

    preset: str | None = None
    device: str | None = None
    precision: str | None = None
    workers: int | None = None
    batch_size: int | None = None
    ray: str | None = None
    seed: int | None = None
    train_minutes: float | None = None
    train_steps: int | None = None
    guide_minutes: float | None = None
    guide_steps: int | None = None
    loss: str | None = None
    dataset: str | None = None
    fiftyone: bool | None = None
    fresh: bool | None = None
    yes: bool | None = None


def settings_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments for the library: those of a command, and the shared ones that were given.

    Args:
        arguments: ``locals()`` of a command, at its first line.
    """
    own = {name: value for name, value in arguments.items() if name != "ctx"}
    return own | library_settings(arguments["ctx"].obj)


def library_settings(shared: Shared) -> dict[str, Any]:
    """The shared options under the library's names; those that were not given are left out."""
    settings = {name: value for name, value in asdict(shared).items() if value is not None}
    settings.pop("yes", None)
    if settings.pop("fresh", False):
        settings["resume"] = False
    if ray := settings.pop("ray", None):
        settings |= {"engine": "ray", "address": None if ray == "local" else ray}
        if "workers" in settings:
            settings["num_workers"] = settings.pop("workers")
    return settings


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"mincurate {version('mincurate')}")
        raise typer.Exit


Preset = Annotated[
    Literal["paper"] | None,
    typer.Option(
        help="paper: the values of ICLR 2024 for what is not given. Default: none.",
        rich_help_panel=METHOD,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Device: auto, cpu, cuda, cuda:1, ... Default: auto.", rich_help_panel=COMPUTING
    ),
]
Precision = Annotated[
    Literal["auto", "float32", "bfloat16"] | None,
    typer.Option(
        help="Of the networks. Default: auto, bfloat16 where the hardware has it.",
        rich_help_panel=COMPUTING,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        help="Processes that decode images. Default: 2; with --ray, one per GPU or CPU.",
        rich_help_panel=COMPUTING,
    ),
]


def _batch_size(text: str | int) -> int | None:
    """A number, or ``None`` for ``auto``; batches that do not fit into memory are halved anyhow."""
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number nor auto.") from None


BatchSize = Annotated[
    int | None,
    typer.Option(
        help="Images per batch; changes no result. Default: auto, halved until it fits.",
        parser=_batch_size,
        metavar="<int|auto>",
        rich_help_panel=COMPUTING,
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster: local (started here), auto or HOST:PORT. Default: no Ray.",
        rich_help_panel=COMPUTING,
    ),
]
TrainMinutes = Annotated[
    float | None,
    typer.Option(
        help="Minutes of training. Default: 10 to score (less below 1,000 images), 20 to generate.",
        rich_help_panel=BUDGETS,
    ),
]
TrainSteps = Annotated[
    int | None,
    typer.Option(help="The same in steps, instead of minutes.", rich_help_panel=BUDGETS),
]
GuideMinutes = Annotated[
    float | None,
    typer.Option(
        help="Minutes of training the classifier that guides. Default: 3.",
        rich_help_panel=BUDGETS,
    ),
]
GuideSteps = Annotated[
    int | None,
    typer.Option(help="The same in steps, instead of minutes.", rich_help_panel=BUDGETS),
]
Loss = Annotated[
    Literal["ordinal", "cross_entropy"] | None,
    typer.Option(
        help="Loss of that classifier; cross_entropy is the paper's. Default: ordinal.",
        rich_help_panel=BUDGETS,
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        help="FiftyOne dataset to write to. Default: that of the run, or mincurate-NAME.",
        rich_help_panel=RESULTS,
    ),
]
Fiftyone = Annotated[
    bool | None,
    typer.Option(
        "--fiftyone/--no-fiftyone",
        help="Write to FiftyOne, or leave it alone. Default: write.",
        rich_help_panel=RESULTS,
    ),
]
Seed = Annotated[int | None, typer.Option(help="Random seed. Default: 0.", rich_help_panel=RESULTS)]
Fresh = Annotated[
    bool | None,
    typer.Option(
        "--fresh",
        help="Start anew. Default: go on with the same images and settings.",
        rich_help_panel=RESULTS,
    ),
]
Yes = Annotated[
    bool | None,
    typer.Option("--yes", "-y", help="Do not ask. Default: ask first.", rich_help_panel=RESULTS),
]
Debug = Annotated[
    bool, typer.Option("--debug", help="Show the traceback of an error; goes anywhere.")
]
Version = Annotated[
    bool,
    typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
]


def options(
    ctx: typer.Context,
    *,
    preset: Preset = None,
    device: Device = None,
    precision: Precision = None,
    workers: Workers = None,
    batch_size: BatchSize = None,
    ray: Ray = None,
    train_minutes: TrainMinutes = None,
    train_steps: TrainSteps = None,
    guide_minutes: GuideMinutes = None,
    guide_steps: GuideSteps = None,
    loss: Loss = None,
    dataset: Dataset = None,
    fiftyone: Fiftyone = None,
    seed: Seed = None,
    fresh: Fresh = None,
    yes: Yes = None,
    debug: Debug = False,
    version: Version = False,
) -> None:
    """What is rare in my images, and can I have more of it?

    Shared options may stand before or after the command. The help of a command names those it
    takes.
    """
    ctx.obj = Shared(**{field.name: ctx.params[field.name] for field in fields(Shared)})
