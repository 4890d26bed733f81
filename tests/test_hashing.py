"""Hashes are on disk in runs and models of earlier versions: their values are fixed."""

import torch

from mincurate import hashing


def test_values_do_not_change(tmp_path):
    (tmp_path / "file").write_bytes(b"pixels")
    tensors = {"b": torch.arange(3), "a": torch.ones(2, 2)}
    assert hashing.content_hash(b"pixels") == "7d448d65cb41c2b7821037c68e29b2db"
    assert hashing.digest(b"pixels", 6).hex() == "d6c2a278b2eb"
    assert hashing.fingerprint({"b": [1, 2.5, None], "a": "é"}) == (
        "175e897ed0a2ebd0b12f45abffea0d54"
    )
    assert hashing.hash_tensors(tensors) == "a428614b1f5667755c9edbff4a1fd7d3"
    assert hashing.file_digest(tmp_path / "file") == (
        "6ec9c2b0eb14010746c8bce8939303b382344b296206612eb8a907a37b2b2f37"
    )


def test_a_head_is_hashed_before_the_tensors():
    tensors = {"a": torch.ones(2)}
    assert hashing.hash_tensors(tensors, b"head") != hashing.hash_tensors(tensors)
    assert hashing.hash_tensors({}, b"pixels") == hashing.content_hash(b"pixels")
