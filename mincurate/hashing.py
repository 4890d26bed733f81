"""The hashes by which images, files, weights and settings are recognised."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    pass


def hash_tensors(state: Mapping[str, Tensor]) -> str:
    """A hash of named tensors, independent of their order."""
    digest = hashlib.blake2b(digest_size=16)
    for key, tensor in sorted(state.items()):
        digest.update(key.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def fingerprint(settings: object) -> str:
    """Hash of everything that decides the results of a run."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_hash(content: bytes) -> str:
    """BLAKE2b-128 of a file's bytes: its name in every table."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
