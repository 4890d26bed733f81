"""Calls of UMAP and PyNNDescent, which Numba compiles and runs on several threads."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module


@contextmanager
def calls_of(*packages: str) -> Iterator[None]:
    """Inside, code of these packages is compiled once and kept; afterwards, threads are as before.

    Numba's first parallel call sets OpenMP's number of threads, torch's included. Warnings are
    ignored: that a seed means one thread, and that some functions cannot be kept.
    """
    from threadpoolctl import threadpool_limits

    for package in packages:
        _keep_compiled_code(package)
    with threadpool_limits(1, user_api="openmp"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cache
def _keep_compiled_code(package: str) -> None:
    """Let Numba keep on disk what it compiles of a package, which takes half a minute per process.

    The place is ``NUMBA_CACHE_DIR``, or beside the package; without one that can be written to, the
    code is compiled in every process.
    """
    from numba.core.dispatcher import Dispatcher

    import_module(package)
    modules = [module for name, module in sys.modules.items() if name.startswith(f"{package}.")]
    for value in [value for module in modules for value in vars(module).values()]:
        if isinstance(value, Dispatcher):
            with suppress(RuntimeError):  # no place to write to
                value.enable_caching()
