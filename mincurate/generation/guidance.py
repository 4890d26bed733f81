"""Minority guidance: a noise-conditional classifier, and its gradient as a denoiser.

    s_hat(x, sigma) = s(x, sigma) + w * grad_x log p(l | x, sigma)

Um, Lee, Ye, "Don't Play Favorites: Minority Guidance for Diffusion Models", ICLR 2024, equation 8.
With the score ``s = (D - x) / sigma^2`` of the variance-exploding form that is a denoiser again:

    D_hat(x, sigma) = D(x, sigma) + sigma^2 * w * grad_x log p(l | x, sigma)

which is ``eps_hat = eps - sqrt(1 - alpha_bar) * w * grad_{x_t} log p`` in other words.

The classifier reads the encoder half of the diffusion model (`classifier`): one encoder
pass serves both the denoising and the classifier, and gradients go back through that half alone, so
that a guided step costs little more than a plain one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mincurate.diffusion.denoiser import Denoiser, check_all_levels
from mincurate.diffusion.encoded import Encoded
from mincurate.errors import UserError
from mincurate.generation.around_denoiser import AroundDenoiser
from mincurate.generation.classifier import Classifier, check_belongs


@dataclass(frozen=True, eq=False)
class Guided(AroundDenoiser):
    """A denoiser guided to where ``log_prob`` is high; it has the denoiser's own call.

    Attributes:
        denoiser: the model; it must know all noise levels.
        log_prob: `Encoded` to ``(N,)``, the log-probability to climb.
        scale: the paper's w.
        classes: ``(N,)``, that the denoiser is conditional on; see `under`.
    """

    log_prob: Callable[[Encoded], Tensor]
    scale: float
    classes: Tensor | None = None

    def under(self, classes: Tensor | None) -> "Guided":
        """The guided denoiser under a condition, see `Denoiser.under`."""
        return replace(self, classes=classes)

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """``D(x, sigma) + sigma^2 * w * grad_x log p``, clamped, ``(N, C, h, w)``.

        The clamp comes after the gradient has been added, and only then.
        """
        encoded, gradient = self._encode(x, sigma)
        with torch.no_grad():
            if self.classes is None:
                prediction = self.denoiser.decode(encoded.detach())
            else:
                prediction = self.denoiser.under(self.classes).predict(x, encoded.timesteps)
            x0 = self.denoiser.to_x0(x, prediction, encoded.timesteps)
            return self.space.clamp(x0 + sigma**2 * self.scale * gradient)

    def gradient(self, x: Tensor, sigma: float) -> Tensor:
        """``w * grad_x log p``, ``(N, C, h, w)``."""
        return self.scale * self._encode(x, sigma)[1]

    def _encode(self, x: Tensor, sigma: float) -> tuple[Encoded, Tensor]:
        """The encoder half's view of ``x``, and ``grad_x log p``.

        Without the condition, for which the classifier was not trained: it says which class and
        which label an image looks to be of.
        """
        timesteps = torch.full((len(x),), self.denoiser.timestep(sigma), device=x.device)
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().requires_grad_()
            encoded = self.denoiser.encode(x, timesteps)
            return encoded, torch.autograd.grad(self.log_prob(encoded).sum(), x)[0]


def gradient_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Gradient of ``function(x)``, ``(N,)``, with respect to each of the N images ``x``."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        return torch.autograd.grad(function(x).sum(), x)[0]


def guided(
    denoiser: Denoiser,
    classifier: Classifier,
    *,
    target_class: int | Sequence[int] | None,
    label: str | None = None,
    guidance_scale: float,
) -> Guided:
    """The denoiser, guided to a class, to one of several classes, to a label, or to both.

    With both, class and label are taken to be independent given the image:
    ``log p(l, label | x) = log p(l | x) + log p(label | x)``.

    Raises:
        UserError: the classifier is another denoiser's, or has no such class or label; the
            denoiser knows some noise levels only.
    """
    check_all_levels(denoiser)
    check_belongs(classifier.denoiser_hash, denoiser)
    targets = [target_class] if isinstance(target_class, int) else list(target_class or ())
    if any(not 0 <= k < classifier.num_classes for k in targets):
        raise UserError(
            f"There is no class {target_class}: the classifier knows 0 (commonest) to "
            f"{classifier.num_classes - 1} (rarest)."
        )
    if label is not None and label not in classifier.label_names:
        raise UserError(
            f"The classifier knows no label {label!r}; it was trained with "
            f"{', '.join(classifier.label_names) or 'no labels'}."
        )
    if not targets and label is None:
        raise UserError("Guidance needs a class or a label to go to.")

    def log_prob(encoded: Encoded) -> Tensor:
        classes, labels = classifier.log_probs(encoded)
        log_p = classes[:, targets].logsumexp(1) if targets else classes.new_zeros(len(classes))
        if label is not None and labels is not None:
            log_p = log_p + labels[:, classifier.label_names.index(label)]
        return log_p

    return Guided(denoiser, log_prob, guidance_scale)
