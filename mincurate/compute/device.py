"""Which hardware computes, and in which precision."""

import json
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import torch

from mincurate.errors import UserError
from mincurate.paths import home

FINDINGS = "device.json"
"""In ``MINCURATE_HOME``: what was found about this processor."""
SLOWER = 10.0
"""Times float32's: so slow, bfloat16 is not computed by the hardware, whatever it says of itself.
Where it is emulated it takes 80 times as long, and where it is not, less than float32 does: a
machine that is busy with other things must not be able to blur the difference."""


def choose_device(device: str) -> str:
    """``auto`` becomes ``cuda`` where there is a working GPU, else ``cpu``.

    Raises:
        UserError: the device named is not there.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"The device {device!r} cannot be used: {reason}") from error
    return device


def choose_precision(precision: str, device: str) -> torch.dtype | None:
    """``auto`` is bfloat16 where the hardware computes it; ``None`` means float32."""
    choices = {
        "auto": reduced_precision(device),
        "float32": None,
        "bfloat16": torch.bfloat16,
    }
    if precision not in choices:
        raise UserError(f"There is no precision {precision!r}: take auto, float32 or bfloat16.")
    return choices[precision]


def reduced_precision(device: str) -> torch.dtype | None:
    """bfloat16 where this device computes it in hardware, else ``None`` (stay in float32).

    Emulated, bfloat16 is many times slower. Of a CPU it is therefore asked whether it has the
    instructions, and tried whether they are as fast as they should be; that they are is kept.
    """
    if device.startswith("cuda"):
        real = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if real else None
    if device != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return None
    found = torch.cpu.get_capabilities()
    has = found.get("avx512_bf16") or found.get("amx_bf16")
    return torch.bfloat16 if has and _tried_before(_processor()) else None


@cache
def _tried_before(processor: str) -> bool:
    """Whether bfloat16 is fast here, as this process or an earlier one has found."""
    kept = home() / FINDINGS
    known: dict[str, bool] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = dict(json.loads(kept.read_text())["fast_bfloat16"])
    if known.get(processor):
        return True
    fast = _bfloat16_is_fast()
    if fast:  # a "no" may be another program's doing: it is not kept, but asked again
        known[processor] = True
        with suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps({"fast_bfloat16": known}))
    return fast


def _processor() -> str:
    """Its name, and the version of PyTorch, on which it depends what is made of it."""
    name = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line for line in lines if line.startswith("model name")).split(":")[1].strip()
    return f"{name}, torch {torch.__version__}"


def _bfloat16_is_fast() -> bool:
    """Time a convolution of the size of the networks' in either precision: best of five each."""
    layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.zeros(16, 64, 16, 16).contiguous(memory_format=torch.channels_last)
    seconds = {False: float("inf"), True: float("inf")}
    with torch.inference_mode():
        for _ in range(6):  # of which the first prepares
            for reduced in seconds:
                started = time.perf_counter()
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
                    layer(x)
                seconds[reduced] = min(seconds[reduced], time.perf_counter() - started)
    return seconds[True] < SLOWER * seconds[False]


def out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; PyTorch has a class of its own for this on a GPU alone."""
    words = str(error)
    return (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or "can't allocate memory" in words
        or "not enough memory" in words
        or "could not create a primitive" in words  # oneDNN's word for it
    )


@contextmanager
def precision(device: str, dtype: torch.dtype | None) -> Iterator[None]:
    """Autocast to ``dtype``, or leave everything in float32 when it is ``None``."""
    kind = device.split(":")[0]
    with torch.autocast(kind, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        yield


def keep_freed_memory() -> None:
    """Let glibc keep large blocks instead of giving them back to the system after every step.

    For a process that trains or scores on the CPU: measured, five times fewer page faults and 1.3
    times the images per second in training. It changes the whole process, so the command line
    calls it and the library does not. Elsewhere than on glibc it does nothing.
    """
    import ctypes

    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mmap_threshold, trim_threshold = -3, -1
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 1 << 30)
