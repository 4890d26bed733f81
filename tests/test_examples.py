"""The examples run as they stand, but for the length of the training."""

import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import command, draw_shapes

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_the_python_api_example_leaves_a_table_and_a_report(tmp_path, monkeypatch, capsys):
    import runpy

    from mincurate.diffusion import train_denoiser

    train = train_denoiser.train

    def short(images, folder, plan, **more):
        return train(images, folder, replace(plan, steps=20), **more)

    monkeypatch.setattr(train_denoiser, "train", short)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = runpy.run_path(str(EXAMPLES / "python_api.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert len(re.findall(r"^\d+ +(?:rare|common)/digit-", printed, re.MULTILINE)) == 10
    [report] = re.findall("^Report: (.*)$", printed, re.MULTILINE)
    assert Path(report).is_file() and left["frame"]["rarity"].is_monotonic_decreasing


@pytest.mark.slow
def test_the_walk_through_on_frogs_runs_in_its_order(database, tmp_path, home, monkeypatch, capsys):
    """Its blocks, on drawn images in the layout it describes; only the App is not opened."""
    from safetensors.torch import save_file
    from torchvision.models import squeezenet1_0

    text = (EXAMPLES / "cifar10.md").read_text()
    _, hide, first, better, look, count = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    draw_shapes(tmp_path / "cifar10", discs=40, crosses=4)
    for ours, theirs in (("disc", "automobile"), ("cross", "frog")):
        shutil.move(tmp_path / "cifar10" / ours, tmp_path / "cifar10" / theirs)
    save_file(squeezenet1_0(weights=None).state_dict(), tmp_path / "squeezenet1_0.safetensors")
    subprocess.run(["bash", "-ec", hide], cwd=tmp_path, check=True)
    assert len(list((tmp_path / "cars").glob("*.png"))) == 44
    for block in (first, better):
        program, *arguments = shlex.split(block)
        assert program == "mincurate"
        printed = command(home, *arguments, "--train-steps", 20, "--no-umap")
    assert "Using the model trained on these images before" in printed
    assert f"Browse:  {look.strip()}" in printed
    exec(compile(count, "cifar10.md", "exec"), {})
    assert capsys.readouterr().out == "4 of the 100 rarest are frogs\n"
