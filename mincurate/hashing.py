"""Every hash of mincurate: of files, images, weights, settings and scripts.

Their values are part of what runs and models on disk record, so they must not change.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def digest(content: bytes, size: int = 16) -> bytes:
    """BLAKE2b of ``content``, ``size`` bytes long."""
    return hashlib.blake2b(content, digest_size=size).digest()


def content_hash(content: bytes) -> str:
    """BLAKE2b-128 of a file's bytes: the ``content_hash`` of every table, in hexadecimal."""
    return digest(content).hex()


def fingerprint(settings: object) -> str:
    """BLAKE2b-128 of settings as JSON with sorted keys; what JSON lacks is written as text."""
    return digest(json.dumps(settings, sort_keys=True, default=str).encode()).hex()


def hash_chunks(chunks: Iterable[bytes]) -> str:
    """BLAKE2b-128 of bytes that come in chunks, in hexadecimal."""
    hasher = hashlib.blake2b(digest_size=16)
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.hexdigest()


def hash_tensors(state: "Mapping[str, Tensor]", head: bytes = b"") -> str:
    """BLAKE2b-128 of ``head`` and of named tensors as float32, whatever their order and device."""

    def chunks() -> Iterator[bytes]:
        yield head
        for key, tensor in sorted(state.items()):
            yield key.encode()
            yield tensor.detach().float().cpu().contiguous().numpy().tobytes()

    return hash_chunks(chunks())


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def script_hash(script: str) -> str:
    """SHA-256 of an inline script in base64, as a Content-Security-Policy names it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
