"""Which hardware computes, and in which precision."""

import json
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import torch

from mincurate.errors import UserError, reason
from mincurate.paths import home

DEVICES = {"cpu": "CPU", "cuda": "NVIDIA GPU", "mps": "Apple GPU", "xpu": "Intel GPU"}
"""Kinds of devices, and what a machine needs for them."""
MEASURED = "device.json"
"""In ``MINCURATE_HOME``: what was measured on this processor."""
SLOWER = 10.0
"""bfloat16 that takes so many times longer than float32 is emulated, whatever the CPU reports.

Emulated it takes 80 times as long, in hardware less than float32: on a busy machine, too, the
measurement lies clearly on one side."""


def choose_device(device: str) -> str:
    """``auto`` becomes ``cuda`` where there is a working GPU, else ``cpu``.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``xpu``.

    Raises:
        UserError: this machine has no such device.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, colon, index = device.partition(":")
    if kind not in DEVICES or (colon and not index.isdigit()):
        raise UserError(f"There is no device {device!r}: take auto, {', '.join(DEVICES)}.")
    count = 1 if kind == "cpu" else _devices(kind)
    if not count:
        raise UserError(f"This machine has no {DEVICES[kind]} for --device {device}; take auto.")
    if int(index or 0) >= count:
        raise UserError(
            f"This machine has {count} device{'s' if count > 1 else ''} of the kind {kind}, "
            f"numbered from 0, and no {device}."
        )
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"The device {device} cannot be used: {reason(error)}") from error
    return device


def _devices(kind: str) -> int:
    """How many devices PyTorch can use, of another kind than the CPU."""
    backend = getattr(torch, kind, None)
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return int(backend.device_count()) if backend is not None and backend.is_available() else 0


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
    """bfloat16 where this device computes it in hardware, else ``None`` (use float32).

    Emulated, bfloat16 is many times slower. A CPU has to report the instructions and to be fast in
    a measurement, whose good result is kept.
    """
    if device.startswith("cuda"):
        in_hardware = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if in_hardware else None
    if device != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return None
    capabilities = torch.cpu.get_capabilities()
    reported = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if reported and _measured_as_fast(_processor()) else None


@cache
def _measured_as_fast(processor: str) -> bool:
    """Whether bfloat16 is fast here, by a measurement of this process or an earlier one."""
    file = home() / MEASURED
    fast: dict[str, bool] = {}
    with suppress(OSError, ValueError, KeyError, TypeError):
        fast = dict(json.loads(file.read_text())["fast_bfloat16"])
    if fast.get(processor):
        return True
    result = _bfloat16_is_fast()
    if result:  # a bad result may be due to other programs: it is measured again next time
        fast[processor] = True
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"fast_bfloat16": fast}))
    return result


def _processor() -> str:
    """The processor's name and the version of PyTorch, which uses it in its own way."""
    name = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line for line in lines if line.startswith("model name")).split(":")[1].strip()
    return f"{name}, torch {torch.__version__}"


def _bfloat16_is_fast() -> bool:
    """Time a convolution like those of the networks in both precisions: best of five each."""
    layer = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.zeros(16, 64, 16, 16).contiguous(memory_format=torch.channels_last)
    seconds = {False: float("inf"), True: float("inf")}
    with torch.inference_mode():
        for _ in range(6):  # the first one prepares
            for reduced in seconds:
                started = time.perf_counter()
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
                    layer(x)
                seconds[reduced] = min(seconds[reduced], time.perf_counter() - started)
    return seconds[True] < SLOWER * seconds[False]


def out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, for which PyTorch has a class on the GPU only."""
    words = str(error)
    return (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or "can't allocate memory" in words
        or "not enough memory" in words
        or "could not create a primitive" in words  # from oneDNN
    )


@contextmanager
def precision(device: str, dtype: torch.dtype | None) -> Iterator[None]:
    """Autocast to ``dtype``, or leave everything in float32 when it is ``None``."""
    kind = device.split(":")[0]
    with torch.autocast(kind, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        yield


def keep_freed_memory() -> None:
    """Let glibc keep large blocks instead of returning them to the system after every step.

    Measured in training on a CPU: a fifth of the page faults and 1.3 times the images per second.
    It changes the whole process, so the command line calls it and the library does not. Without
    glibc it does nothing.
    """
    import ctypes

    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mmap_threshold, trim_threshold = -3, -1
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 1 << 30)


def return_freed_memory() -> None:
    """Return freed blocks to the system after all, those of ended threads too, which glibc keeps
    for threads to come: after the networks, ranking needs memory of another shape."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
