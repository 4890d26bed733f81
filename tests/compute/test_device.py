"""The precision follows what the processor has and does, and what was found is kept."""

import json
import time

import pytest
import torch

from mincurate.compute import device


@pytest.fixture(autouse=True)
def asked_anew():
    device._tried_before.cache_clear()
    yield
    device._tried_before.cache_clear()


@pytest.fixture
def said_to_have_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


def kept(home):
    return json.loads((home / device.FINDINGS).read_text())["fast_bfloat16"]


def test_without_the_instructions_nothing_is_tried(home, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert device.reduced_precision("cpu") is None
    assert not (home / device.FINDINGS).exists()


@pytest.mark.parametrize("fast", [True, False])
def test_what_was_tried_is_kept_and_a_no_is_asked_again(home, said_to_have_it, monkeypatch, fast):
    """A machine that is busy with other things may make bfloat16 look slow, once."""
    monkeypatch.setattr(device, "_bfloat16_is_fast", lambda: fast)
    assert (device.reduced_precision("cpu") is torch.bfloat16) == fast
    if fast:
        assert kept(home) == {device._processor(): True}
        assert torch.__version__ in device._processor()
    else:
        assert not (home / device.FINDINGS).exists()
    monkeypatch.setattr(device, "_bfloat16_is_fast", lambda: not fast)
    device._tried_before.cache_clear()
    assert device.reduced_precision("cpu") is torch.bfloat16


@pytest.mark.parametrize("content", ["", "[]", '{"fast_bfloat16": 3}', '{"another": {}}'])
def test_a_file_that_says_nothing_is_made_anew(home, said_to_have_it, monkeypatch, content):
    monkeypatch.setattr(device, "_bfloat16_is_fast", lambda: True)
    (home / device.FINDINGS).write_text(content)
    device.reduced_precision("cpu")
    assert list(kept(home)) == [device._processor()]


def test_another_processor_or_version_is_tried_again(home, said_to_have_it, monkeypatch):
    monkeypatch.setattr(device, "_bfloat16_is_fast", lambda: True)
    (home / device.FINDINGS).write_text('{"fast_bfloat16": {"another": false}}')
    device.reduced_precision("cpu")
    assert set(kept(home)) == {"another", device._processor()}


def test_a_home_that_cannot_be_written_does_not_matter(tmp_path, monkeypatch, said_to_have_it):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINCURATE_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setattr(device, "_bfloat16_is_fast", lambda: True)
    assert device.reduced_precision("cpu") is torch.bfloat16
    assert not (tmp_path / "file" / "home").exists()


def test_bfloat16_that_takes_much_longer_than_float32_is_not_in_the_hardware(monkeypatch):
    autocast = torch.autocast

    class Emulated(autocast):
        def __enter__(self):
            if self.fast_dtype == torch.bfloat16 and self._enabled:
                time.sleep(0.1)
            return super().__enter__()

    monkeypatch.setattr(torch, "autocast", Emulated)
    assert not device._bfloat16_is_fast()


def test_hardware_that_has_it_is_found_in_a_moment():
    found = torch.cpu.get_capabilities()
    if not (found.get("avx512_bf16") or found.get("amx_bf16")):
        pytest.skip("no bfloat16 in this processor")
    started = time.process_time()
    assert device._bfloat16_is_fast()
    assert time.process_time() - started < 2  # measured: 0.1 s
