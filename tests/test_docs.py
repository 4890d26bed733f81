"""The documentation says what the command line, the tables and the packages are."""

import re
import sys
from pathlib import Path

import pytest

from mincurate import cli

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

from commands_page import app, commands, page  # noqa: E402

EVERYTHING = [("", app()), *commands()]


@pytest.mark.parametrize(("name", "command"), EVERYTHING)
def test_every_command_and_option_says_what_it_does(name, command):
    assert command.help
    for parameter in command.params:
        told = getattr(parameter, "help", None)
        assert told, f"{name} {parameter.name}"
        own = parameter.param_type_name == "option" and parameter.expose_value
        if own and parameter.default is None:
            default_told = parameter.required or "efault" in told or "instead" in told
            assert default_told, f"{name} {parameter.name} does not say what its default is"


@pytest.mark.parametrize(("name", "command"), EVERYTHING)
def test_the_help_of_every_command_is_shown_whole(name, command, monkeypatch, capsys):
    """Brackets, as in NAME[/VIEW], are markup to Rich, which fails on them or drops them."""
    monkeypatch.setattr("sys.argv", ["mincurate", *name.split(), "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    printed = capsys.readouterr()
    assert (end.value.code, printed.err) == (0, "")
    shown = "".join(printed.out.split())
    for parameter in command.params:
        assert "".join(parameter.help.split()) in shown


def test_the_reference_holds_every_command_with_every_option_and_its_help():
    sections = dict(re.findall(r"^## mincurate ([^\n]*)\n(.*?)(?=^## |\Z)", page(), re.M | re.S))
    assert list(sections) == [name for name, _ in commands()]
    [sections[""]] = re.findall(r"^## Shared options\n(.*?)(?=^## )", page(), re.M | re.S)
    for name, command in EVERYTHING:
        entries = re.findall(r"^- `([^`]*)`: (.*)$", sections[name], re.MULTILINE)
        for parameter in command.params:
            names = {*parameter.opts, *parameter.secondary_opts}
            [told] = [text for shown, text in entries if names <= {*re.split("[], /[.]+", shown)}]
            assert " ".join(parameter.help.split()) in told, f"{name} {parameter.name}"


@pytest.mark.parametrize("name", sorted({name.split()[0] for name, _ in commands()}))
def test_every_command_is_in_a_guide_not_only_in_the_reference(name):
    guides = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    assert f"mincurate {name}" in guides


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.encode()) <= 8000
    assert max(len(line) for line in text.splitlines() if "](" not in line) <= 100


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("examples/**/*.md"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_links_from_outside_of_docs_lead_somewhere(path):
    """Those between the pages of docs/ are checked by `mkdocs build --strict`."""
    for target in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_every_column_is_documented():
    from mincurate.runs.schema import COLUMNS

    columns = (ROOT / "docs" / "files.md").read_text()
    assert [name for name in COLUMNS if f"`{name}`" not in columns] == []


def test_every_test_benchmark_and_example_that_the_pages_name_exists():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    named = [
        name
        for page in pages
        for name in re.findall(r"\b(?:tests|benchmarks|examples)/[\w/]+\.py\b", page.read_text())
    ]
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_module_and_package_that_the_pages_name_exists():
    pages = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    named = re.findall(r"`((?:mincurate|plugins)/[a-z_/]+(?:\.py)?)`", pages)
    assert [name for name in named if not (ROOT / name).exists()] == []
    text = (ROOT / "docs" / "architecture.md").read_text()
    packages = {p.parent.name for p in (ROOT / "mincurate").glob("*/__init__.py")}
    drawn = (ROOT / "docs" / "images" / "packages.svg").read_text()
    for package in packages:
        assert f"mincurate/{package}`" in text and f">{package}<" in drawn, package


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
    names: dict = {}
    exec(compile(example, "scale.md", "exec"), names)
    classes = np.searchsorted(names["tops"], scores)
    assert (classes == ordinal_classes(scores, 10)).all()
