"""What decides a scored run, besides its images: one list, recorded as it is."""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from mincurate import paths
from mincurate.compute.ray_map import Cluster, choose_engine
from mincurate.diffusion import models
from mincurate.errors import UserError
from mincurate.images import bands
from mincurate.images.decode import Fit
from mincurate.images.tiles import Tiling
from mincurate.pipelines import own_vectors
from mincurate.pipelines.estimates import spares_draws
from mincurate.pipelines.preset import Preset
from mincurate.ranking.classes import BY_VECTORS, RANKINGS
from mincurate.runs import command
from mincurate.runs.store import Run

TRAIN_MINUTES = 10.0
"""Training budget when there is no model, from `TRAIN_IMAGES` images on."""
TRAIN_IMAGES = 1000
"""Fewer images get less in proportion: a longer training only memorises them."""
DEFAULTS: dict[str, Any] = {"n_draws": 6, "num_classes": 10, "rank_by": "embedding"}
PAPER: dict[str, Any] = {"n_draws": 5, "num_classes": 100, "rank_by": "minority"}
"""Values in place of ``None``; those of the published code with ``preset="paper"``."""
PAPER_SIGMA_PER_PIXEL = 6.37 / 256
"""The published noise level, timestep 605 of 1000 of the linear schedule at 256 px, per pixel of
the side: images of other sizes keep the same share of their information."""


@dataclass(frozen=True)
class ScoreSettings(Preset):
    """The settings of `score`; a command-line option and a recorded setting have the same names.

    The preset ``paper`` takes the distance ``lpips-vgg``, `PAPER` and `PAPER_SIGMA_PER_PIXEL`.

    Attributes:
        model: a diffusers pipeline or ``UNet2DModel`` folder, a hub id, or a run whose model to
            use (``mincurate_3``). Without one, a small denoiser is trained on the images.
        prompt: what a model that takes text is told of every image; ``{label}`` stands for the
            image's label. Default: the empty prompt.
        sigma: noise level of the score, pixels in [-1, 1]; default 0.005 per pixel of the side, and
            0.01 per latent of the side with a latent model.
        n_draws: noise draws per image (K); default 6.
        adaptive: make two draws of every image, and K only of those that two draws do not put
            clearly inside or outside the rarest class of the minority score.
        num_classes: number of ordinal classes (L), default 10; 0 is the commonest.
        within_label: rank an image among those of its own label.
        rank_by: ``embedding`` (default), ``minority``, ``calibrated`` or ``neighbors``: what
            ``rarity`` and ``rarity_class`` follow.
        quick: rank by vectors and stop, without training and minority scores.
        perceptual: distance: ``auto``, ``lpips-vgg|lpips-alex|lpips-squeeze[@FILE]``, ``unet``,
            ``latent`` (latent models) or ``torchvision:NAME[@FILE]``.
        embedding: vectors: ``auto``, ``efficientnet-lite0``, ``unet``, ``torchvision:NAME[@FILE]``
            or a hub id.
        vectors: your own vectors, in place of an embedding (`own_vectors.source_of`).
        image_size: side at which to train and score, in pixels; a multiple of 8.
        fit: how an image becomes square: ``crop``, ``pad`` or ``stretch``.
        background: colour behind transparent pixels: ``auto`` (white, or black where white would
            hide the picture) or a colour such as ``#808080``.
        bands: bands that make an image, numbered from 1: ``3,2,1`` or ``all``; their colours when
            absent, and all bands where those of most images are no colours.
        labels: True: parent folders are labels; False: none; None: if they look like classes.
        label_field: the label field of a FiftyOne dataset, or the label column of a table; one
            with a usual name when absent.
        path_column: the column of a table with the paths; one with a usual name when absent.
        follow_links: read what symbolic links that leave the folder lead to.
        objects: rank the objects in the images: the label field of a FiftyOne dataset that holds
            them; of a folder a COCO file, a folder of YOLO or VOC files, or ``auto``.
        tiles: ``SIZE[/STRIDE]`` in pixels: rank tiles of the images.
        context: what is cut out beside an object's box, as a share of its sides on each side.
        max_images: score a random sample of this many files.
        umap: make the two-dimensional map.
        seed: random seed.
        train_minutes: training budget when there is no model; default 10, and less
            for fewer than 1,000 images.
        train_steps: exact number of training steps, in place of minutes.
        dataset: FiftyOne dataset to write to.
        fiftyone: write a FiftyOne dataset at all.
        output: folder for the run, in place of one under ``~/.mincurate``.
        resume: go on with the run of the same images and settings, if there is one.
        batch_size: images per batch; does not change the scores.
        workers: processes that decode images.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...
        precision: ``auto``, ``float32`` or ``bfloat16``.
        engine: ``local``, or ``ray`` to train and score in processes of a Ray cluster.
        address: of a running cluster; one is started on this machine when absent.
        num_workers: processes on Ray; one per GPU, or per CPU where there is none, when absent.
    """

    model: str | None = None
    prompt: str | None = None
    sigma: float | None = None
    n_draws: int | None = None
    adaptive: bool = False
    num_classes: int | None = None
    within_label: bool = False
    rank_by: str | None = None
    quick: bool = False
    perceptual: str = "auto"
    embedding: str = "auto"
    vectors: Any = None
    image_size: int | None = None
    fit: Fit = "crop"
    background: str = "auto"
    bands: str | None = None
    labels: bool | None = None
    label_field: str | None = None
    path_column: str | None = None
    follow_links: bool = False
    objects: str | None = None
    context: float = 0.0
    tiles: str | None = None
    max_images: int | None = None
    umap: bool = True
    seed: int = 0
    train_minutes: float | None = None
    train_steps: int | None = None
    dataset: str | None = None
    fiftyone: bool = True
    output: str | Path | None = None
    resume: bool = True
    batch_size: int = 32
    workers: int = 2
    device: str = "auto"
    precision: str = "auto"
    engine: str = "local"
    address: str | None = None
    num_workers: int | None = None

    def settled(self) -> "ScoreSettings":
        """The same, checked, with defaults, or the preset's values, in place of ``None``.

        Raises:
            UserError: a value, or two together, that cannot be.
        """
        given = {name: getattr(self, name) for name in DEFAULTS}
        defaults = PAPER if self.paper else DEFAULTS
        values = {name: defaults[name] if v is None else v for name, v in given.items()}
        self._check(**values)
        if self.paper and self.perceptual == "auto":
            values["perceptual"] = "lpips-vgg"
        return replace(self, **values)

    @property
    def sigma_per_pixel(self) -> float:
        """Noise level per pixel of the image's side, where no ``sigma`` is given."""
        return PAPER_SIGMA_PER_PIXEL if self.paper else models.SIGMA_PER_PIXEL

    def _check(self, n_draws: int, num_classes: int, rank_by: str) -> None:
        if rank_by not in RANKINGS:
            raise UserError(f"--rank-by is {', '.join(RANKINGS)}, not {rank_by!r}.")
        if self.quick and rank_by not in BY_VECTORS:
            raise UserError(
                f"--quick ranks by vectors alone, and --rank-by {rank_by} needs minority "
                "scores: leave one of them out."
            )
        if self.prompt is not None and self.model is None:
            raise UserError("--prompt is for a model that takes text: give one with --model.")
        if self.vectors is not None and self.embedding != "auto":
            raise UserError("--vectors takes the place of --embedding: leave one of them out.")
        if n_draws < 1 or num_classes < 1 or self.batch_size < 1:
            raise UserError("--n-draws, --num-classes and --batch-size are at least 1.")
        if self.adaptive and not spares_draws(n_draws, num_classes, self.within_label):
            raise UserError(
                "--adaptive spends draws at the edge of the rarest class of all images: it goes "
                "with 4 or more --n-draws, 2 or more --num-classes, and not with --within-label."
            )
        if self.bands is not None:
            bands.parse(self.bands)
        if not 0 <= self.context <= 10 or (self.context and self.objects is None):
            raise UserError("--context is a share of a box's sides, 0 to 10, and needs --objects.")
        if self.tiles is not None:
            Tiling.parse(self.tiles)
            if self.objects is not None or self.vectors is not None:
                other = "--vectors" if self.objects is None else "--objects"
                raise UserError(f"{other} does not go with --tiles: leave one of them out.")
        if self.objects is not None and self.vectors is not None:
            raise UserError("--vectors are those of whole images: leave them or --objects out.")
        if self.objects is not None and (self.label_field or self.path_column):
            raise UserError(
                "--objects takes the labels of the objects: leave --label-field and --path-column "
                "out."
            )
        models.check_numbers(
            sigma=self.sigma,
            image_size=self.image_size,
            minutes=self.minutes(TRAIN_IMAGES),
            steps=self.train_steps,
            seed=self.seed,
            workers=self.workers,
            max_images=self.max_images,
        )

    @property
    def band_numbers(self) -> tuple[int, ...] | None:
        """``bands`` as numbers; none for all."""
        return None if self.bands is None else bands.parse(self.bands)

    def minutes(self, images: int) -> float:
        """The training budget for so many images, in minutes; at least one by default."""
        if self.train_minutes is not None:
            return float(self.train_minutes)
        return max(1.0, round(TRAIN_MINUTES * min(1.0, images / TRAIN_IMAGES), 1))

    @property
    def cluster(self) -> Cluster | None:
        """Where to compute; this process when ``None``."""
        return choose_engine(self.engine, self.address, self.num_workers, self.device)

    def with_lasting_paths(self) -> "ScoreSettings":
        """The same, with absolute paths: they hold in whatever folder they are read.

        Raises:
            UserError: the vectors cannot be written.
        """
        return replace(
            self,
            model=command.lasting(self.model, bare=True) if self.model else None,
            perceptual=command.lasting(self.perceptual),
            embedding=command.lasting(self.embedding),
            vectors=own_vectors.source_of(self.vectors),
        )

    def record(self) -> dict[str, Any]:
        """For ``run.json``."""
        return asdict(self)

    @classmethod
    def of(cls, run: Run) -> "ScoreSettings":
        """The settings a run was scored with; runs of earlier versions recorded fewer."""
        recorded = run.record.get("settings") or {}
        return cls(**{f.name: recorded[f.name] for f in fields(cls) if f.name in recorded})

    @classmethod
    def again(cls, run: Run) -> "ScoreSettings":
        """The settings that go on with a run, as `runs.command.command` spells them out."""
        record, folder = run.record, run.path.resolve()
        settings = replace(cls.of(run), resume=True)
        settings = replace(settings, rank_by=record.get("rank_by") or settings.rank_by)
        if folder.parent != (paths.home() / "runs").resolve():
            settings = replace(settings, output=folder)
        if not run.finished:
            return settings
        name = record.get("dataset")
        if name is not None:
            from mincurate.dataset import database, lookup

            database.check_database()
            name = lookup.name_now(run, name)
        return replace(settings, dataset=name, fiftyone=name is not None)
