"""Files in object storage: listed and read through fsspec, named by URLs.

Addresses and keys of a storage are its own business: s3fs takes them from the usual places
(``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, ``~/.aws``), and so do the others.
"""

import errno
import os
import re
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from mincurate.errors import UserError

EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}
"""Schemes that are read, with the extra of mincurate that brings what reads them."""


def scheme(path: str) -> str:
    """``s3`` for ``s3://...``; empty for what is no URL."""
    url = re.match(r"([a-z][a-z0-9+.-]+)://", path, re.IGNORECASE)
    return url.group(1).lower() if url else ""


def remote(path: str) -> bool:
    """Whether ``path`` names an object in a storage that can be read."""
    return scheme(path) in EXTRAS


def local(path: str) -> str:
    """A ``file://`` URL as the path that it means; everything else unchanged."""
    return url2pathname(urlsplit(path).path) if scheme(path) == "file" else path


def normal(path: str) -> str:
    """A URL with its scheme in small letters; everything else unchanged."""
    return scheme(path) + path[len(scheme(path)) :]


def check(url: str) -> None:
    """Raise `UserError` where what reads such a storage is not installed."""
    _system(url)


def find(url: str) -> list[str]:
    """The keys of all objects below ``url``, sorted, relative to it.

    Raises:
        UserError: the storage does not answer, or there is no such place.
    """
    try:
        system, root = _system(url)
        system.invalidate_cache(root)  # what came since this process listed it before
        keys = system.find(root)
    except FileNotFoundError as error:
        raise UserError(f"{url} cannot be listed: there is no such bucket or folder.") from error
    except OSError as error:
        raise UserError(f"{url} cannot be listed: {error.strerror or error}.") from error
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{url} cannot be listed: {_first_line(error)}.") from error
    root = root.rstrip("/") + "/"
    return sorted(key.removeprefix(root) for key in keys if key.startswith(root))


def read(url: str, limit: int) -> bytes:
    """The bytes of an object.

    Raises:
        OSError: it cannot be read, or is larger than ``limit`` bytes (``EFBIG``).
        UserError: what reads such a storage is not installed.
    """
    try:
        system, key = _system(url)
        if system.size(key) > limit:
            raise OSError(errno.EFBIG, f"too large: the limit is {limit >> 30} GiB")
        return system.cat_file(key)
    except (OSError, UserError):
        raise
    except Exception as error:  # every storage has exceptions of its own, with no common class
        raise OSError(errno.EIO, _first_line(error)) from error


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL (fsspec keeps one for each place), and the key within."""
    try:
        import fsspec
    except ImportError:
        raise _lacking(url) from None
    # Else gcsfs asks anew for the kind of the bucket with every object, and where there are no
    # credentials (a public bucket) looks for them, and warns, every time.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    try:
        # Not url_to_fs: to it, "::" in a key is a chain of file systems.
        system = fsspec.filesystem(scheme(url))
    except ImportError:
        raise _lacking(url) from None
    return system, system._strip_protocol(normal(url))


def _lacking(url: str) -> UserError:
    extra = EXTRAS[scheme(url)]
    return UserError(f"Reading {url} needs an extra: pip install 'mincurate[{extra}]'.")


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
