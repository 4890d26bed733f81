"""The paper's experiments on a model that has learnt next to nothing: they run, and leave both."""

import re
import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import draw_shapes

from mincurate.evaluation import metrics
from mincurate.runs import store

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
PAPER = Path(__file__).parents[1] / "examples" / "paper"
TINY = ["--n", "12", "--steps", "3", "--train-steps", "20", "--guide-steps", "20", "--batch-size"]
EXPECTED = {
    "sweep_class": ({"ddpm", "class 0", "class 4"}, ["--classes", "0", "4"]),
    "sweep_number": ({"ddpm", "L = 2", "L = 5"}, ["--numbers", "2", "5"]),
    "sweep_scale": ({"w = 0", "w = 2", "w = 3.5"}, ["--scales", "2", "3.5"]),
    "density": ({"real", "rarest tenth of real", "ddpm", "minority"}, []),
    "quality": ({"ddpm", "low-density", "minority"}, []),
}


def run(monkeypatch, name, *arguments):
    """The script as the command line starts it, in this process."""
    import runpy

    monkeypatch.setattr(sys, "path", [str(PAPER), *sys.path])
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    runpy.run_path(str(PAPER / f"{name}.py"), run_name="__main__")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """The intervals of Fréchet distances take most of the time; their width is tested elsewhere."""
    whole = metrics.frechet_interval
    monkeypatch.setattr(
        metrics, "frechet_interval", lambda *sets, **more: whole(*sets, **more | {"resamples": 3})
    )


def test_every_experiment_leaves_a_figure_and_a_table(own, tmp_path, monkeypatch, capsys):
    for name, (sets, arguments) in EXPECTED.items():
        run(monkeypatch, name, *TINY, "12", "--output", str(tmp_path), *arguments)
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        table = pd.read_csv(tmp_path / f"{name}.csv")
        assert set(table["set"]) == sets
        assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
        assert set(table["feature_space"]) <= {"unet at 16 px", "unet, layer 3 of 6 at 4 x 4"}
        assert f"{name}.png" in capsys.readouterr().out.replace("\n", "")
    assert {"all", "tail"} == set(table["reference"]) and {
        "frechet_distance",
        "spatial_frechet_distance",
    } <= set(table["metric"])
    made = [r.record["settings"] for r in store.all_runs() if store.kind_of(r) == store.AUGMENT]
    kinds = [(s["sampler"], s["target_classes"], s["guidance_scale"]) for s in made[1:]]
    # The first is the fixture's; no set was made twice. Those of the sweep over L are files alone.
    assert sorted(kinds, key=str) == [
        ("ddpm", [4], None),
        ("minority", [0], 3.5),
        ("minority", [4], 2.0),
        ("minority", [4], 3.5),
    ]


SMALL = {"--n": "8", "--steps": "4", "--train-minutes": "0.02", "--guide-minutes": "0.02"}
SMALL |= {"--device": "cpu"}
"""In place of the sizes and the device of the full commands; their other flags stay."""


@pytest.mark.long
def test_the_full_size_commands_run_with_only_size_and_device_changed(
    tiny, home, tmp_path, monkeypatch, say
):
    _, _, after = (PAPER / "README.md").read_text().partition("Full size on a GPU")
    block = re.search(r"```bash\n(.*?)```", after, re.DOTALL).group(1)
    block = block.replace("$FULL", re.search(r'^FULL="(.*)"$', block, re.MULTILINE).group(1))
    draw_shapes(tmp_path / "cifar10", discs=90, crosses=30)
    monkeypatch.chdir(tmp_path)
    ran = []
    for line in block.splitlines():
        words = shlex.split(line)
        words = [SMALL.get(before, word) for before, word in zip(["", *words], words, strict=False)]
        if words[0] == "mincurate":
            assert say(*words[1:], "--perceptual", "unet")[0] == 0  # without the weights of LPIPS
        elif words[0] == "python":
            run(monkeypatch, Path(words[1]).stem, *words[2:])
            ran.append(Path(words[1]).stem)
    assert sorted(ran) == sorted(EXPECTED)
    for name in ran:
        assert (tmp_path / "paper" / f"{name}.png").is_file()
        assert (pd.read_csv(tmp_path / "paper" / f"{name}.csv")["n_real"] <= 120).all()
    made = [r.record["settings"] for r in store.all_runs() if store.kind_of(r) == store.AUGMENT]
    assert {(s["solver"], s["batch_size"], s["n"]) for s in made} == {("ancestral", 500, 8)}


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("sweep_class", ["--classes", "0", "5"], "classes 0 to 4"),
        ("sweep_scale", ["--scales", "0"], "above 0"),
        ("sweep_number", ["--numbers", "1"], "from 2 to the 60 images"),
        ("density", ["mincurate_9"], "mincurate_9"),
    ],
)
def test_what_is_wrong_is_one_sentence(own, monkeypatch, name, arguments, words):
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, name, *TINY, "12", *arguments)
    assert words in str(end.value) and str(end.value).startswith("Error: ")
    assert "\n" not in str(end.value)
