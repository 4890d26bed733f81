"""Images held out from the classifier's training, and the figures of its predictions on them."""

import numpy as np
from numpy.typing import NDArray

SHARE, MOST = 0.1, 1024
"""Share of the images that is held out, and how many at most."""
TEMPERATURE_SPREAD = 0.5
"""Of the prior of a temperature's logarithm; see `temperature`."""


def split(
    classes: NDArray[np.int64], seed: int, share: float = SHARE, most: int = MOST
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices to train on and to hold out, stratified by class; class -1 is in neither.

    A class gives its share, at least one image, and keeps at least one; a class of one image keeps
    it. Where nothing could be held out, the training images themselves are.
    """
    rng = np.random.default_rng(seed)
    share = min(share, most / max(1, int((classes >= 0).sum())))
    training: list[int] = []
    held_out: list[int] = []
    for k in np.unique(classes[classes >= 0]):
        index = rng.permutation(np.flatnonzero(classes == k))
        n = min(max(1, round(share * len(index))), len(index) - 1)
        held_out.extend(index[:n])
        training.extend(index[n:])
    train_index = np.sort(np.array(training, dtype=np.int64))
    return train_index, np.sort(np.array(held_out or training, dtype=np.int64))


def evaluate(
    log_probs: tuple[NDArray[np.floating], NDArray[np.floating] | None],
    classes: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> dict[str, float]:
    """`figures` of the classes and, as ``label_...``, of the labels that are known.

    Args:
        log_probs: ``(N, L)`` of the classes, and ``(N, labels)`` or ``None``.
        classes: ``(N,)``, the true ones.
        labels: ``(N,)``, the true ones; -1 where unknown.
    """
    values = figures(log_probs[0], classes)
    labelled = labels >= 0
    if log_probs[1] is not None and labelled.any():
        of_labels = figures(log_probs[1][labelled], labels[labelled], ordinal=False)
        values |= {f"label_{name}": value for name, value in of_labels.items()}
    return values


def figures(
    log_probs: NDArray[np.floating], truth: NDArray[np.int64], *, ordinal: bool = True
) -> dict[str, float]:
    """Held-out figures of ``(N, L)`` log-probabilities.

    ``mean_absolute_error`` is that of the most probable class, in classes; ``macro_f1`` is the
    mean over the classes that occur in ``truth``.
    """
    from sklearn import metrics

    predicted = log_probs.argmax(1)
    values = {
        "log_loss": float(-log_probs[np.arange(len(truth)), truth].mean()),
        "accuracy": float(metrics.accuracy_score(truth, predicted)),
        "macro_f1": float(
            metrics.f1_score(truth, predicted, labels=np.unique(truth), average="macro")
        ),
    }
    if ordinal:
        values["mean_absolute_error"] = float(metrics.mean_absolute_error(truth, predicted))
    return values


def temperature(
    log_probs: NDArray[np.floating], truth: NDArray[np.int64], spread: float = TEMPERATURE_SPREAD
) -> float:
    """The temperature at which ``(N, L)`` log-probabilities fit the true classes best.

    The logarithm of the temperature has a normal prior around 0, so that few images, or a noise
    level that shows nothing, leave it near 1. Guo et al., "On Calibration of Modern Neural
    Networks", ICML 2017.

    Args:
        spread: standard deviation of the prior.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(log_probs / np.exp(log_temperature), axis=1)
        misfit = -scaled[np.arange(len(truth)), truth].sum()
        return float(misfit + 0.5 * (log_temperature / spread) ** 2)

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))
