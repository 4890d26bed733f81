"""Arguments and options that have the same words in several commands."""

from typing import Annotated, Literal

import typer

BASIC, IMAGES, METHOD = "Basics", "Images and labels", "Method"
"""Panels of the help; a beginner needs the first alone."""

Scored = Annotated[
    str | None,
    typer.Argument(help="Key, number or folder of a scored run. Default: the one scored last."),
]
OfRun = Annotated[
    str | None,
    typer.Option(
        help="Key, number or folder of a scored run. Default: the one scored last.",
        rich_help_panel=BASIC,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        help="Sampling steps. Default: 25 (ddim 50, ancestral 250).", rich_help_panel=METHOD
    ),
]
GuidanceScale = Annotated[
    float | None,
    typer.Option(
        help="The paper's w: more is rarer, less real. Default: 2 (self-guided 0.3, ddpm 1).",
        rich_help_panel=BASIC,
    ),
]
Guides = Annotated[
    Literal["rarity", "minority"] | None,
    typer.Option(
        help="Classes that guide: of the ranking or the minority score. Default: rarity.",
        rich_help_panel=METHOD,
    ),
]
GeneratingModel = Annotated[
    str | None,
    typer.Option(
        help="Model: folder, ADM file (.pt), hub id or run. Default: the run's, trained further.",
        rich_help_panel=BASIC,
    ),
]
Fit = Annotated[
    Literal["crop", "pad", "stretch"],
    typer.Option(
        help="How an image becomes square: cut, padded or stretched.", rich_help_panel=IMAGES
    ),
]
MaxImages = Annotated[
    int | None,
    typer.Option(
        help="Use a random sample of this many files. Default: all.", rich_help_panel=IMAGES
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        help="Side in px, a multiple of 8. Default: that of the images, at most 32 (GPU: 64).",
        rich_help_panel=IMAGES,
    ),
]
Sigma = Annotated[
    float | None,
    typer.Option(
        help="Noise level on pixels in [-1, 1]. Default: 0.005 x image side (0.16 at 32 px).",
        rich_help_panel=METHOD,
    ),
]
