"""The files and columns of a run: their names, types and meanings. See `docs/files.md`."""

from dataclasses import dataclass
from typing import Literal

from mincurate import hashing

RECORD = "run.json"
"""The record of a run: where it comes from, its settings, counts and findings."""
DIGESTS = "digests.json"
"""Checksums of the files of a run or model (`runs.digests`)."""
MODEL_RECORD = "mincurate.json"
"""What a model trained here says of its training."""
LOCK = "lock"

SCORES, SCORES_CSV = "scores.parquet", "scores.csv"
IMAGES_CSV = "images.csv"
"""Of a run of objects: the images, by their rarest object."""
VECTORS, VECTOR_HASHES = "embeddings.npy", "embeddings.parquet"
JOINED = "joined.npz"
"""Hashes and vectors of images that joined a finished run, which `VECTORS` lacks."""
SMALL_VECTORS = "embeddings-small.npz"
"""Vectors of the images at the denoiser's size (`ranking.joining.at_score_size`)."""
REVIEW = "review.csv"
"""The images in the order to review them."""
MAP, RECONSTRUCTIONS, REPORT = "map.npz", "reconstructions.npz", "report.html"

SYNTHETIC, SYNTHETIC_CSV = "synthetic.parquet", "synthetic.csv"
"""The table of generated images."""
MANIFEST = "manifest.jsonl"
MINED, MINED_CSV = "mined.parquet", "mined.csv"
"""The table of mined images."""
EVALUATION, EVALUATION_CSV = "evaluation.json", "evaluation.csv"
EVALUATION_PAGE = "evaluation.html"

SHARDS, FIGURES, GUIDANCE = "shards", "figures", "guidance"
PREVIEWS = "previews"
"""Folder of a picture of every image that browsers do not show, ``CONTENT_HASH.jpg``; of an image
whose parts are ranked, it is called by `preview_of_path`."""
IMAGES, BASELINE = "images", "baseline"
"""Folders of generated images, and of the plain ones that an evaluation compares them with."""

OUTPUTS = (
    *(
        SCORES,
        SCORES_CSV,
        IMAGES_CSV,
        VECTORS,
        VECTOR_HASHES,
        JOINED,
        SMALL_VECTORS,
        MAP,
        RECONSTRUCTIONS,
        REPORT,
        REVIEW,
    ),
    *(DIGESTS, RECORD),
)
"""Files of every run."""
GENERATED = (MANIFEST, SYNTHETIC, SYNTHETIC_CSV, EVALUATION, EVALUATION_CSV, EVALUATION_PAGE)
"""Further files of a run that generates."""
OF_MINING = (MINED, MINED_CSV)
"""Further files of a run that mines."""


@dataclass(frozen=True)
class Column:
    """A column of the table of results.

    Attributes:
        kind: ``float`` is double precision, ``floats`` a list of single precision in every row,
            which the Parquet table alone holds.
        meaning: what it holds, with unit or range.
        higher_is: ``rarer`` for a score or rank, else empty.
        of_content: it depends on what the image shows, so that an exact copy has the same value.
    """

    kind: Literal["str", "int", "float", "float32", "floats"]
    meaning: str
    higher_is: Literal["", "rarer"] = ""
    of_content: bool = False

    @property
    def description(self) -> str:
        """The meaning, with what a higher number means."""
        return self.meaning + (f"; higher is {self.higher_is}" if self.higher_is else "")


def _score(meaning: str) -> Column:
    return Column("float", meaning, "rarer", of_content=True)


def _measured(meaning: str) -> Column:
    return Column("float", meaning)


def _rank(meaning: str) -> Column:
    return Column("int", meaning, "rarer", of_content=True)


def _found(meaning: str) -> Column:
    return Column("str", meaning, of_content=True)


COLUMNS = {
    "path": Column("str", "Path or address of the file"),
    "rel_path": Column("str", "Path relative to the source"),
    "content_hash": Column(
        "str", "BLAKE2b-128 of the file's bytes (and the box); equal for copies"
    ),
    "label": Column("str", "Label from the folder, the table or FiftyOne"),
    "minority_score": _score("Minority score: mean perceptual distance to its reconstructions"),
    "minority_score_se": Column(
        "float", "Standard error of the minority score over its draws", of_content=True
    ),
    "minority_percentile": _score("Percentile by the minority score: 0 commonest, 1 rarest"),
    "minority_percentile_low": _score("Lower end of the percentile's 95 % interval"),
    "minority_percentile_high": _score("Upper end of the percentile's 95 % interval"),
    "minority_class": _rank("Ordinal class of the minority score: 0 commonest"),
    "minority_class_within_label": _rank(
        "Ordinal class of the minority score among images of its own label"
    ),
    "rarity": _score("Percentile of the ranking in force: 0 commonest, 1 rarest"),
    "rarity_class": _rank("Ordinal class of the ranking in force: 0 commonest"),
    "rarity_class_within_label": _rank(
        "Ordinal class of the ranking in force among images of its own label"
    ),
    "neighbor_distance": _score("Mean distance to the 5 nearest neighbours"),
    "embedding_rarity": _score("Outlying or small kind, whichever the set asks for, 0 to 1"),
    "embedding_rarity_within_label": _score("Rare among images of its own label, 0 to 1"),
    "label_mismatch": _score("Above 0.5 it lies nearer to images of other labels than to its own"),
    "outlying": _score("Mean rank of crowd distance, outlier factor and deviation, 0 to 1"),
    "small_kind": _score("Rank by how few neighbours there are in its direction, 0 to 1"),
    "crowd_distance": _score("Mean distance to the nearest tenth of the vectors"),
    "outlier_factor": _score("Local outlier factor: about 1 where density is even"),
    "deviation": _score("Mean deviation of the vector's coordinates, in standard deviations"),
    "minority_score_calibrated": _score(
        "Minority score with texture regressed out, rank-averaged with neighbour distance, 0 to 1"
    ),
    "complexity": _measured("Bytes per pixel of the image as PNG"),
    "brightness": _measured("Mean luma, 0 black to 1 white"),
    "contrast": _measured("Standard deviation of the pixels, 0 blank to 0.5"),
    "sharpness": _measured("Mean Laplacian over mean gradient; low is blurred"),
    "colorfulness": _measured("0 grey; 0.4 and more is very colourful"),
    "hue": _measured(
        "Hue of the mean colour in degrees: 0 red, 60 yellow, 120 green, 180 cyan, 240 blue"
    ),
    "rarity_kind": _found("rare (one of a few of its kind), odd (fits nothing) or broken"),
    "rare_group": _found("Group of the rarest tenth, by what sets it apart"),
    "broken": Column("str", "What is broken: blank, blurred, copy or unreadable"),
    "denoising_error": Column(
        "float32", "Mean squared error of the reconstructions, pixels in [-1, 1]", of_content=True
    ),
    "width": Column("int", "Width of the upright image, or of the crop, in pixels"),
    "height": Column("int", "Height of the upright image, or of the crop, in pixels"),
    "box_x": _measured("Left edge of the object's box, share of the image's width"),
    "box_y": _measured("Top edge of the object's box, share of the image's height"),
    "box_width": _measured("Width of the object's box, share of the image's width"),
    "box_height": _measured("Height of the object's box, share of the image's height"),
    "context": _measured("What is cut out beside the box, share of its sides on each side"),
    "object_id": Column("str", "Id of the object in FiftyOne, or number of its annotation"),
    "duplicate_of": Column("str", "rel_path of the first file with the same content"),
    "map_x": Column("float", "Horizontal place on the map", of_content=True),
    "map_y": Column("float", "Vertical place on the map", of_content=True),
    "status": Column("str", "ok, or unscorable"),
    "reason": Column("str", "Why the file has no score"),
    "warning": Column("str", "What is missing or left out of an image that is scored all the same"),
    "joined": Column("str", "When the image joined the finished run"),
    "sample_id": Column("str", "Id of the FiftyOne sample"),
    "minority_score_draws": Column("floats", "Distance of every draw", "rarer", of_content=True),
    "layer_distances": Column("floats", "Mean distance of every layer", "rarer", of_content=True),
}
"""The columns of ``scores.parquet``, in order; a run may lack some."""


def preview_of_path(path: str) -> str:
    """The name of the preview of an image whose parts are ranked."""
    return hashing.fingerprint(path)


def names(kind: str) -> list[str]:
    """The columns of a kind (see `Column`)."""
    return [name for name, column in COLUMNS.items() if column.kind == kind]
