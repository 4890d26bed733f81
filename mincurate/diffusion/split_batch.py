"""A batch that does not fit into memory is computed in parts, whose gradients add up."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor

from mincurate.compute.device import out_of_memory
from mincurate.errors import UserError

T = TypeVar("T")


class Parts:
    """How many parts the batches of one training take; twice as many when memory runs out.

    Args:
        what: name of the training in a sentence.
        device: where it computes.
        alone: whether no other process trains with this one.
    """

    def __init__(self, what: str, device: torch.device, *, alone: bool) -> None:
        self.what, self.device, self.alone = what, device, alone
        self.number = 1

    def backward(
        self, loss: Callable[[slice], Tensor], size: int, parameters: Iterable[Tensor]
    ) -> Tensor:
        """Gradients of a batch, added up over its parts; returns the loss of the batch.

        Args:
            loss: the share that the rows of a part have in the loss of the batch.
            size: rows of the batch.
            parameters: what has gradients, and has none yet.

        Raises:
            UserError: not even a single image fits.
        """

        def part(rows: slice) -> Tensor:
            value = loss(rows)
            value.backward()
            return value.detach()

        def forget() -> None:
            for parameter in parameters:
                parameter.grad = None

        return torch.stack(self.each(part, size, forget)).sum()

    def each(
        self, compute: Callable[[slice], T], size: int, forget: Callable[[], None] = lambda: None
    ) -> list[T]:
        """``compute`` for the rows of every part of a batch.

        Args:
            compute: called with the rows of one part after the other.
            size: rows of the batch.
            forget: called before the batch is computed again in smaller parts.

        Raises:
            UserError: not even a single image fits.
        """
        while True:
            try:
                rows = -(-size // self.number)
                return [compute(slice(i, i + rows)) for i in range(0, size, rows)]
            except (RuntimeError, MemoryError) as error:
                # In a team a UserError would end this worker alone, and the others would wait.
                if not out_of_memory(error) or (self.number >= size and not self.alone):
                    raise
            if self.number >= size:
                raise UserError(
                    f"A single image needs more memory for {self.what} than {self.device} has: "
                    "take a smaller --image-size or another --device."
                )
            self.number *= 2
            forget()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
