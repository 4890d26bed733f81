"""`mincurate doctor` on this machine, sound and spoiled."""

import re

import pytest
from conftest import command

WEIGHTS = ("vgg16-397923af.pth", "alexnet-owt-7be5be79.pth", "squeezenet1_1-b8a52dc0.pth")
UNREACHABLE = {"https_proxy": "http://127.0.0.1:1", "no_proxy": ""}


def doctor(home, code=0):
    """What it prints, with room for a line of each finding, however long the paths are."""
    return command(home, "doctor", code=code, columns=400)


def rows(printed):
    """Mark and finding of everything that was looked at."""
    found = re.findall(r"^│ +(ok|no) +│ +(.+?) +│ +(.+?) +│$", printed, re.MULTILINE)
    return {what: (mark, said) for mark, what, said in found}


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """Torch's own cache, empty, with nothing to fill it from."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name, value in UNREACHABLE.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("database")
def test_a_sound_machine_is_told_so_line_by_line(tmp_path):
    place = tmp_path / "torch" / "hub" / "checkpoints"
    place.mkdir(parents=True)
    for name in WEIGHTS:
        (place / name).touch()
    printed = doctor(tmp_path / "home")
    found = rows(printed)
    nets = [f"lpips-{net} weights" for net in ("vgg", "alex", "squeeze")]
    looked_at = ["torch", "device", "precision", "disk", "caches", "database", *nets]
    assert {what: found[what][0] for what in looked_at} == dict.fromkeys(looked_at, "ok")
    assert re.fullmatch(r"[\d.]+( .*)?", found["torch"][1].partition("+")[0])
    assert "GFLOP/s in float32" in found["device"][1]
    assert "GiB free" in found["disk"][1] and "0 runs, 0 trained models" in found["caches"][1]
    assert found["database"][1].startswith("answers")
    assert printed.rstrip().endswith("Scoring works here.")


@pytest.mark.slow
def test_what_the_main_job_can_do_without_does_not_fail(tmp_path, monkeypatch):
    """No database, and weights neither here nor to be downloaded."""
    monkeypatch.setenv("FIFTYONE_DATABASE_URI", "mongodb://user:secret@127.0.0.1:1/")
    printed = doctor(tmp_path / "home")
    found = rows(printed)
    assert found["database"][0] == found["lpips-vgg weights"][0] == "no"
    assert "FIFTYONE_DATABASE_URI" in printed and "secret" not in printed
    assert f"put {WEIGHTS[0]} into" in printed and "--perceptual lpips-vgg@FILE" in printed
    assert printed.rstrip().endswith("Scoring works here with --no-fiftyone.")


@pytest.mark.slow
def test_a_home_that_cannot_be_written_fails_and_says_how_to_mend_it(tmp_path):
    (tmp_path / "home").write_text("a file")
    printed = doctor(tmp_path / "home", code=1)
    assert rows(printed)["disk"][0] == "no"
    assert f"cannot write to {tmp_path / 'home'}" in printed and "set MINCURATE_HOME" in printed
    assert "fix what is marked 'no' in red" in printed
