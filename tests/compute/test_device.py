"""Devices that are not there are refused; the precision follows what the processor can do."""

import json
import time

import pytest
import torch

from mincurate.compute import device
from mincurate.errors import UserError


@pytest.fixture(autouse=True)
def asked_anew():
    device._measured_as_fast.cache_clear()
    yield
    device._measured_as_fast.cache_clear()


@pytest.fixture
def said_to_have_it(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


def recorded(home):
    return json.loads((home / device.MEASURED).read_text())["fast_bfloat16"]


def test_without_the_instructions_nothing_is_tried(home, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert device.reduced_precision("cpu") is None
    assert not (home / device.MEASURED).exists()


@pytest.mark.parametrize("fast", [True, False])
def test_what_was_tried_is_kept_and_a_no_is_asked_again(home, said_to_have_it, monkeypatch, fast):
    """A machine that is busy with other things may make bfloat16 look slow, once."""
    monkeypatch.setattr(device, "_bfloat16_is_fast", lambda: fast)
    assert (device.reduced_precision("cpu") is torch.bfloat16) == fast
    if fast:
        assert recorded(home) == {device._processor(): True}
        assert torch.__version__ in device._processor()
    else:
        assert not (home / device.MEASURED).exists()
    monkeypatch.setattr(device, "_bfloat16_is_fast", lambda: not fast)
    device._measured_as_fast.cache_clear()
    assert device.reduced_precision("cpu") is torch.bfloat16


@pytest.mark.parametrize("content", ["", "[]", '{"fast_bfloat16": 3}', '{"another": {}}'])
def test_a_file_that_says_nothing_is_made_anew(home, said_to_have_it, monkeypatch, content):
    monkeypatch.setattr(device, "_bfloat16_is_fast", lambda: True)
    (home / device.MEASURED).write_text(content)
    device.reduced_precision("cpu")
    assert list(recorded(home)) == [device._processor()]


def test_another_processor_or_version_is_tried_again(home, said_to_have_it, monkeypatch):
    monkeypatch.setattr(device, "_bfloat16_is_fast", lambda: True)
    (home / device.MEASURED).write_text('{"fast_bfloat16": {"another": false}}')
    device.reduced_precision("cpu")
    assert set(recorded(home)) == {"another", device._processor()}


def test_a_home_that_cannot_be_written_does_not_matter(tmp_path, monkeypatch, said_to_have_it):
    monkeypatch.setattr(device, "_bfloat16_is_fast", lambda: True)
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINCURATE_HOME", str(tmp_path / "file" / "home"))
    assert device.reduced_precision("cpu") is torch.bfloat16


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("mps", "This machine has no Apple GPU for --device mps; take auto."),
        ("xpu:1", "This machine has no Intel GPU for --device xpu:1; take auto."),
        ("cuda:99", r"no NVIDIA GPU for --device cuda:99; take auto|no cuda:99\."),
        ("cpu:1", "This machine has 1 device of the kind cpu, numbered from 0, and no cpu:1."),
        *(
            (name, f"There is no device '{name}': take auto, cpu, cuda, mps, xpu.")
            for name in ("", "gpu", "CUDA", "meta", "cuda:", "cuda:-1", "cuda:one", "tpu", "nan")
        ),
    ],
)
def test_a_device_that_is_not_there_is_one_sentence(name, sentence):
    if name == "mps" and torch.backends.mps.is_available():
        pytest.skip("it is there")
    with pytest.raises(UserError, match=sentence) as error:
        device.choose_device(name)
    assert len(str(error.value)) < 120 and "\n" not in str(error.value)


def test_the_cpu_is_always_there():
    assert device.choose_device("cpu") == "cpu" and device.choose_device("cpu:0") == "cpu:0"
    assert device.choose_device("auto") in ("cpu", "cuda")


def test_bfloat16_that_takes_much_longer_than_float32_is_not_in_the_hardware(monkeypatch):
    autocast = torch.autocast

    class Emulated(autocast):
        def __enter__(self):
            if self.fast_dtype == torch.bfloat16 and self._enabled:
                time.sleep(0.3)
            return super().__enter__()

    monkeypatch.setattr(torch, "autocast", Emulated)
    assert not device._bfloat16_is_fast()


def test_hardware_that_has_it_is_found_in_a_moment():
    capabilities = torch.cpu.get_capabilities()
    if not (capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")):
        pytest.skip("no bfloat16 in this processor")
    started = time.process_time()
    assert device._bfloat16_is_fast()
    assert time.process_time() - started < 2  # measured: 0.1 s
