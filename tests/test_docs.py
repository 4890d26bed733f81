import re
from pathlib import Path

import pytest
import typer

from mincurate import cli
from mincurate.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands(group=None, name=()):
    group = group or typer.main.get_command(app)
    for child, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*name, child))
        else:
            yield " ".join((*name, child)), command


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_and_option_says_what_it_does(name, command):
    assert command.help
    for parameter in command.params:
        said = getattr(parameter, "help", None)
        assert said, f"{name} {parameter.name}"
        if parameter.param_type_name == "option" and parameter.default is None:
            told = parameter.required or "efault" in said or "instead" in said
            assert told, f"{name} {parameter.name} has no default and does not say what then"


@pytest.mark.parametrize(("name", "command"), [("", None), *commands()])
def test_the_help_of_every_command_is_shown_whole(name, command, monkeypatch, capsys):
    """Brackets, as in NAME[/VIEW], are markup to Rich, which fails on them or drops them."""
    monkeypatch.setattr("sys.argv", ["mincurate", *name.split(), "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capsys.readouterr()
    assert (end.value.code, printed.err) == (0, "")
    shown = "".join(printed.out.split())
    for parameter in command.params if command else []:
        assert "".join(parameter.help.split()) in shown


@pytest.mark.parametrize("name", sorted({name.split()[0] for name, _ in commands()}))
def test_every_command_is_in_the_readme(name):
    assert f"mincurate {name}" in README


def test_the_readme_names_no_option_that_does_not_exist():
    known = {o for _, c in commands() for p in c.params for o in (*p.opts, *p.secondary_opts)}
    known |= {"--help", "--version", "--debug"}
    for line in re.findall(r"mincurate [a-z][^`\n]*", README):
        assert set(re.findall(r"--[a-z-]+", line)) <= known, line


def test_the_files_the_readme_links_to_exist():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_the_python_example_of_the_readme_runs(shapes, tmp_path, monkeypatch):
    from conftest import shorten_training

    example = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").symlink_to(shapes)
    shorten_training(monkeypatch)
    exec(compile(example, "README.md", "exec"), {})


def test_every_column_is_documented():
    from mincurate.ranking.table import COLUMNS

    columns = (ROOT / "docs" / "files.md").read_text()
    assert [name for name in COLUMNS if f"`{name}`" not in columns] == []


def test_the_merging_of_partitions_in_the_plan_gives_the_classes_of_all(tmp_path, monkeypatch):
    import numpy as np
    import pandas as pd

    from mincurate.ranking.classes import ordinal_classes

    scores = np.random.default_rng(0).gamma(3, 0.3, 500).round(2)  # some are equal
    for number, part in enumerate(np.array_split(scores, 3)):
        folder = tmp_path / "runs" / f"{number:04d}"
        folder.mkdir(parents=True)
        unreadable = pd.Series([*part, None], dtype="Float64")
        pd.DataFrame({"minority_score": unreadable}).to_parquet(folder / "scores.parquet")
    plan = (ROOT / "docs" / "scale.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", plan, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(compile(example, "scale.md", "exec"), found)
    classes = np.searchsorted(found["tops"], scores)
    assert (classes == ordinal_classes(scores, 10)).all()
