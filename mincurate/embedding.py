"""Vectors for images, the neighbours among them, and a two-dimensional map of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mincurate import backbone
from mincurate.denoiser import Denoiser
from mincurate.errors import UserError

NEIGHBORS = 5
"""k of AvgkNN (method, section 5)."""
UNET_SIGMA = 0.5
"""Noise level the denoiser is told when it looks at a clean image for a vector (measured:
`benchmarks/tried.py --only own`; told of more noise than there is in scoring, it sees more)."""
MAP_MIN_IMAGES = 30
"""Fewer images than this are mapped by PCA: UMAP's neighbourhoods would hold nearly all of them."""
MAP_LANDMARKS = 50_000
"""Above this many images UMAP maps a random sample of this size, and the others join it."""
MAP_DIMENSIONS = 50
"""To so many dimensions vectors are reduced where there are more images than landmarks."""
MAP_CHUNK = 20_000
"""Images that join such a map at once."""
EXACT_NEIGHBORS_LIMIT = 50_000
"""Above this many vectors neighbours are searched approximately (NN-descent)."""


@dataclass(frozen=True, eq=False)
class Embedder:
    """A function from images to vectors.

    Attributes:
        name: how records call it.
        weights_hash: identifies the network's weights.
        embed: ``(N, 3, H, W)`` in [-1, 1] to ``(N, d)``.
        weak: the network was not trained to tell kinds of images apart.
    """

    name: str
    weights_hash: str
    embed: Callable[[Tensor], Tensor]
    weak: bool


def load(spec: str, denoiser: Denoiser | None, *, device: str = "cpu") -> Embedder:
    """The embedding named ``spec``: ``unet``, ``torchvision:NAME[@FILE]``, or a hub id or folder
    that ``transformers.AutoModel`` reads.

    Raises:
        UserError: no such embedding, or its weights are not to be had.
    """
    if spec == "unet":
        if denoiser is None:
            raise ValueError("the embedding unet needs the denoiser whose features it takes")
        return Embedder(
            "unet", denoiser.content_hash(), lambda x: unet_embedding(denoiser, x), weak=True
        )
    if spec.startswith("torchvision:"):
        net = backbone.load_torchvision(spec.removeprefix("torchvision:"), device=device)
        return Embedder(
            net.name, net.weights_hash, lambda x: summary(net.features(x)[-1]), weak=False
        )
    return _load_hub_model(spec, device)


def choose(spec: str, perceptual_spec: str) -> str:
    """Resolve ``auto``: the network of the perceptual distance where it is a pretrained one."""
    if spec != "auto":
        return spec
    if perceptual_spec.startswith("torchvision:"):
        return perceptual_spec
    if perceptual_spec.startswith("lpips-"):
        name, _, file = perceptual_spec.partition("@")
        trunk = {"lpips-vgg": "vgg16", "lpips-alex": "alexnet", "lpips-squeeze": "squeezenet1_1"}
        return f"torchvision:{trunk[name]}" + (f"@{file}" if file else "")
    return "unet"


def summary(features: Tensor) -> Tensor:
    """Mean and standard deviation of every channel of ``(N, C, h, w)``: ``(N, 2 C)`` of length 1.

    Of a network's last map. Measured (`benchmarks/study.py`, pairs for choosing): the deviation
    tells rare from common better than the mean, and earlier maps add texture.
    """
    flat = features.float().flatten(2)
    return F.normalize(torch.cat([flat.mean(2), flat.std(2, correction=0)], dim=1), dim=1)


def unet_embedding(denoiser: Denoiser, x: Tensor) -> Tensor:
    """Vectors from the denoiser's own encoder, for machines with no pretrained network."""
    return torch.cat([summary(m) for m in denoiser.features(x, UNET_SIGMA)], dim=1)


def _load_hub_model(spec: str, device: str) -> Embedder:
    try:
        from transformers import AutoImageProcessor, AutoModel
    except ImportError:
        raise UserError(
            f"The embedding {spec!r} is neither unet nor torchvision:NAME[@FILE]; to read it as a "
            "hub id install transformers (pip install 'mincurate[hub]')."
        ) from None
    try:
        net = AutoModel.from_pretrained(spec, trust_remote_code=False)
        config = AutoImageProcessor.from_pretrained(spec).to_dict()
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"The embedding model {spec!r} could not be loaded: {reason}") from error
    net = net.eval().requires_grad_(False).to(device)
    size = config.get("crop_size") or config.get("size") or {}
    side = int(size.get("height") or size.get("shortest_edge") or 224)
    mean = torch.tensor(config.get("image_mean") or backbone.IMAGENET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(config.get("image_std") or backbone.IMAGENET_STD).view(1, 3, 1, 1)

    def embed(x: Tensor) -> Tensor:
        x = F.interpolate(x, size=side, mode="bicubic", align_corners=False, antialias=True)
        output = net(((x + 1) / 2 - mean.to(x)) / std.to(x))
        summary = getattr(output, "pooler_output", None)
        return (summary if summary is not None else output.last_hidden_state[:, 0]).flatten(1)

    return Embedder(spec, backbone.hash_tensors(net.state_dict()), embed, weak=False)


def neighbors(
    vectors: NDArray[np.float32], k: int = NEIGHBORS
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distances and indices ``(N, k')`` of every vector's nearest others, ``k' = min(k, N - 1)``.

    Args:
        vectors: ``(N, d)``.
    """
    n = len(vectors)
    k = min(k, n - 1)
    if k < 1:
        return np.zeros((n, 0)), np.zeros((n, 0), dtype=np.int64)
    if n > EXACT_NEIGHBORS_LIMIT:
        from pynndescent import NNDescent

        # A wider search than asked for: with k neighbours alone it misses some of the nearest.
        wide = max(k + 1, 20)
        index, far = NNDescent(vectors, n_neighbors=wide, random_state=0).neighbor_graph
        return far[:, 1 : k + 1].astype(np.float64), index[:, 1 : k + 1].astype(np.int64)
    from sklearn.neighbors import NearestNeighbors

    far, index = NearestNeighbors(n_neighbors=k).fit(vectors).kneighbors()
    return far, index


def neighbor_distance(vectors: NDArray[np.float32], k: int = NEIGHBORS) -> NDArray[np.float64]:
    """AvgkNN: mean Euclidean distance to the k nearest other vectors; higher is rarer.

    NaN where there is no other vector.
    """
    far, _ = neighbors(vectors, k)
    return far.mean(axis=1) if far.shape[1] else np.full(len(vectors), np.nan)


def fit_map(vectors: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], str]:
    """A two-dimensional map ``(N, 2)`` of ``(N, d)`` vectors, and how it was made.

    Beside the vectors, memory is needed for `MAP_LANDMARKS` of them, however many there are.

    Returns:
        The points, and ``umap``, or ``pca`` for fewer than `MAP_MIN_IMAGES` vectors, or ``none``
        for fewer than three.
    """
    n = len(vectors)
    if n < 3:
        return np.full((n, 2), np.nan, dtype=np.float32), "none"
    if n < MAP_MIN_IMAGES:
        from sklearn.decomposition import PCA

        return PCA(n_components=2, random_state=seed).fit_transform(vectors).astype("f4"), "pca"
    return (_umap if n <= MAP_LANDMARKS else _landmark_map)(vectors, seed), "umap"


def _landmark_map(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """UMAP of a random sample, reduced by PCA, which the other vectors then join in chunks."""
    from sklearn.decomposition import PCA

    n = len(vectors)
    picks = np.sort(np.random.default_rng(seed).choice(n, MAP_LANDMARKS, replace=False))
    pca = PCA(min(MAP_DIMENSIONS, vectors.shape[1]), random_state=seed)
    landmarks = pca.fit_transform(vectors[picks]).astype(np.float32)
    points = np.empty((n, 2), np.float32)
    points[picks] = fitted = _umap(landmarks, seed)
    others = np.setdiff1d(np.arange(n), picks, assume_unique=True)
    for start in range(0, len(others), MAP_CHUNK):
        chunk = others[start : start + MAP_CHUNK]
        joining = pca.transform(vectors[chunk]).astype(np.float32)
        points[chunk] = join_map(joining, landmarks, fitted)
    return points


def _umap(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    import warnings

    with warnings.catch_warnings(), _compiled_once():
        # UMAP warns that a seed means one thread; the seed is what we want.
        warnings.simplefilter("ignore")
        from umap import UMAP

        points = UMAP(n_neighbors=15, min_dist=0.1, random_state=seed).fit_transform(vectors)
    return points.astype(np.float32)


@contextmanager
def _compiled_once() -> Iterator[None]:
    """Inside, what Numba compiles is kept on disk (where `NUMBA_CACHE_DIR` says, or beside the
    library): UMAP asks for that of nothing, and would compile for 20 seconds in every process.
    """
    import numba

    njit = numba.njit

    def keeping(*signature: Any, **options: Any) -> Any:
        if signature and callable(signature[0]):
            return keeping(*signature[1:], **options)(signature[0])

        def decorate(function: Any) -> Any:
            try:
                return njit(*signature, **{"cache": True, **options})(function)
            except RuntimeError:  # there is no place that it may write to
                return njit(*signature, **options)(function)

        return decorate

    numba.njit = keeping
    try:
        yield
    finally:
        numba.njit = njit


def join_map(
    new: NDArray[np.float32], vectors: NDArray[np.float32], points: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Place ``new`` vectors ``(M, d)`` on a fitted map: vectors ``(N, d)`` at points ``(N, 2)``.

    Each goes to the mean of its nearest neighbours' points, weighted by inverse distance, which is
    where UMAP's own transform starts. An image that is on the map already lands on its own point.
    """
    from sklearn.neighbors import KNeighborsRegressor

    k = min(NEIGHBORS, len(vectors))
    regressor = KNeighborsRegressor(n_neighbors=k, weights="distance").fit(vectors, points)
    return regressor.predict(new).astype(np.float32)
