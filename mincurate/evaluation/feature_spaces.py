"""The feature space of an evaluation: not the one that guided, wherever there is another.

Rarity that guidance has raised in one feature space proves little when it is measured in the same
one. The choice, in this order: Inception (the published FID) where its weights are here, the run's
embedding, and the network of the perceptual distance; the first that did not guide.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mincurate.diffusion.denoiser import to_tensor
from mincurate.errors import UserError
from mincurate.evaluation import inception
from mincurate.evaluation.metric_table import Features, FeatureSpace
from mincurate.evaluation.metrics import Vectors, spatial_vectors
from mincurate.features import embedder
from mincurate.images.regions import FileOrRegion
from mincurate.progress import SILENT, Reporter
from mincurate.ranking.minority_score import Scorer
from mincurate.ranking.reference import Base

AUTO, RUN, INCEPTION = "auto", "run", "inception"
WEIGHTS = (".pth", ".pt", ".safetensors")
"""Endings of files with Inception weights."""
SPATIAL_SIDE = 4
"""Spatial features are of the deepest layer with at least so many positions on a side."""
BY_VECTORS = ("embedding", "neighbors", "calibrated")
"""Rankings that follow the run's embedding."""


@dataclass(frozen=True, eq=False)
class Extractor:
    """Computes the features that images are judged by.

    Attributes:
        space: what they are.
        network: which network computes them; two spaces of one network are no independent ones.
        extract: ``(N, 3, H, W)`` uint8 to vectors and spatial vectors; the vectors are None where
            they are the run's embedding, which scoring has computed.
    """

    space: FeatureSpace
    network: str
    extract: Callable[[NDArray[np.uint8]], tuple[Vectors | None, Vectors]]

    def features(
        self,
        base: Base,
        places: Sequence[FileOrRegion],
        embedding: Vectors,
        reporter: Reporter = SILENT,
    ) -> Features:
        """The features of images, decoded as the run ``base`` decodes.

        Args:
            embedding: ``(N, d)``, the run's embedding of the images.

        Raises:
            UserError: an image can no longer be read.
        """
        vectors, spatial = [], []
        batches = base.reading(base.size, 128).batches([(str(place), place) for place in places])
        with reporter.task("Features", len(places)) as advance:
            for _, pixels, bad in batches:
                if bad:
                    path, reason = next(iter(bad.items()))
                    raise UserError(f"{path} can no longer be read: {reason}.")
                pooled, maps = self.extract(pixels)
                vectors.append(pooled)
                spatial.append(maps)
                advance(len(pixels))
        own = [part for part in vectors if part is not None]
        return Features(np.concatenate(own) if own else embedding, np.concatenate(spatial))


@dataclass(frozen=True, eq=False)
class Judge:
    """The feature space of an evaluation.

    Attributes:
        extractor: computes its features.
        guided_by: the feature space that guided; empty where none did.
        circular: it is the same network.
    """

    extractor: Extractor
    guided_by: str
    circular: bool

    @property
    def space(self) -> FeatureSpace:
        """What its features are."""
        return self.extractor.space


def choose(
    features: str,
    base: Base,
    scorer: Scorer,
    by: str | None,
    device: str,
    reporter: Reporter = SILENT,
) -> Judge:
    """The feature space for images that are compared with those of the run ``base``.

    Args:
        features: ``auto``, ``inception``, ``run`` (the run's embedding), a file with the Inception
            weights of FID, or an embedding as `load_embedder` names them.
        by: ``rarity`` or ``minority``: the classes that guided; None for images made elsewhere.

    Raises:
        UserError: no such features.
    """
    record = base.run.record
    embedding, distance = str(record["embedding"]), scorer.perceptual.name
    by_vectors = by == "rarity" and record["rank_by"] in BY_VECTORS
    guided_by = "" if by is None else embedding if by_vectors else distance
    guide = embedding if by_vectors else embedder.choose_embedding(AUTO, distance) if by else ""
    if features == AUTO:
        extractor = _automatic(base, scorer, guide, device, reporter)
    else:
        extractor = _named(features, base, scorer, device)
    circular = extractor.network == guide
    if circular:
        reporter.warn(
            f"Rarity is measured in the features that guided ({guide}), which favours the guided "
            "images; `mincurate evaluate --features FILE` takes the Inception weights of FID."
        )
    return Judge(extractor, guided_by, circular)


def _automatic(
    base: Base, scorer: Scorer, guide: str, device: str, reporter: Reporter
) -> Extractor:
    """The first space of another network than ``guide``; the run's embedding if there is none."""
    weights = inception.cached_weights()
    if weights and inception.installed():
        return _inception(weights, device)
    if weights:
        reporter.say("The Inception weights of FID are here: pip install 'mincurate[fid]'.")
    own, distance = _own(base, scorer), _perceptual(base, scorer)
    other = own.network == guide and distance.network not in (guide, "unet")
    return distance if other else own


def _named(features: str, base: Base, scorer: Scorer, device: str) -> Extractor:
    if features == RUN:
        return _own(base, scorer)
    if features == INCEPTION:
        weights = inception.cached_weights()
        if weights is None:
            raise UserError(
                "The Inception weights are not in torch's cache; give their file with --features "
                f"FILE ({inception.FILES[0]})."
            )
        return _inception(weights, device)
    if features.endswith(WEIGHTS) and not features.startswith("torchvision:"):
        return _inception(Path(features), device)
    network = embedder.load_embedder(features, scorer.denoiser, device=device)
    return _embedding(network.name, network.name, network.embed, base, scorer)


def _inception(weights: Path, device: str) -> Extractor:
    space = FeatureSpace(inception.NAME, inception.SPATIAL_NAME, inception=True)
    return Extractor(space, INCEPTION, inception.Inception(weights, device))


def _own(base: Base, scorer: Scorer) -> Extractor:
    """The run's embedding, with spatial features of the perceptual network."""
    name = str(base.run.record["embedding"])
    return _embedding(name, name, None, base, scorer)


def _perceptual(base: Base, scorer: Scorer) -> Extractor:
    """The network of the perceptual distance."""
    name = scorer.perceptual.name

    def embed(x: Tensor) -> Tensor:
        return embedder.summary(scorer.perceptual.image_maps(scorer.denoiser, x)[-1])

    return _embedding(name, embedder.choose_embedding(AUTO, name), embed, base, scorer)


def _embedding(
    name: str,
    network: str,
    embed: Callable[[Tensor], Tensor] | None,
    base: Base,
    scorer: Scorer,
) -> Extractor:
    """An embedding, with spatial features of the perceptual network, which knows places."""
    device = scorer.denoiser.device
    with torch.inference_mode():
        black = torch.zeros(1, 3, base.size, base.size, device=device)
        probe = scorer.perceptual.image_maps(scorer.denoiser, black)
    wide = [i for i, maps in enumerate(probe) if min(maps.shape[2:]) >= SPATIAL_SIDE]
    layer = wide[-1] if wide else 0
    h, w = probe[layer].shape[2:]
    spatial = f"{scorer.perceptual.name}, layer {layer + 1} of {len(probe)} at {h} x {w}"

    @torch.inference_mode()
    def extract(pixels: NDArray[np.uint8]) -> tuple[Vectors | None, Vectors]:
        x = to_tensor(pixels, device)
        maps = scorer.perceptual.image_maps(scorer.denoiser, x)[layer].float().cpu().numpy()
        vectors = None if embed is None else embed(x).float().cpu().numpy()
        return vectors, spatial_vectors(maps)

    return Extractor(FeatureSpace(f"{name} at {base.size} px", spatial), network, extract)
