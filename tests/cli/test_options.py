"""The options: how many, where they stand, how the help shows them, and what is refused."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from conftest import refused
from typer.testing import CliRunner

from mincurate.cli import app as command_line
from mincurate.cli import generate as generate_commands
from mincurate.cli import option_checks, shared
from mincurate.cli import score as scoring
from mincurate.generation import samplers
from mincurate.ranking import classes

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs"))

from commands_page import app, commands  # noqa: E402

ALL = dict(commands())
GROUP = app()
FIRST = {"score": [".", "--no-fiftyone"], "train": [".", "-o", "m"], "export": ["x"]}
FIRST |= {"convert": ["x.pt", "m"], "mine": ["pool"]}
FIRST |= {"runs delete": ["1"], "runs show": ["1"], "runs compare": ["1", "2"]}
"""What a command needs at least."""
VALUES = {"--device": "cpu", "--precision": "float32", "--ray": "local", "--loss": "ordinal"}
VALUES |= {"--preset": "paper"}


def options_of(command):
    return [p for p in command.params if p.param_type_name == "option"]


def help_of(*name):
    return CliRunner().invoke(command_line, [*name, "--help"], terminal_width=200).output


def typed(parameter):
    """A shared option with a value."""
    option = next(name for name in parameter.opts if name.startswith("--"))
    return [option] if parameter.is_flag else [option, VALUES.get(option, "1")]


def test_there_are_few_options():
    assert len(options_of(GROUP)) + sum(len(options_of(c)) for c in ALL.values()) <= 109


@pytest.mark.parametrize("name", ALL)
def test_the_help_shows_panels_and_the_first_is_for_beginners(name):
    panels = [p.rich_help_panel for p in options_of(ALL[name])]
    assert None not in panels and panels.count("Basics") <= 8
    printed = help_of(*name.split())
    assert panels == sorted(panels, key=list(dict.fromkeys(panels)).index)  # each in one piece
    for panel in dict.fromkeys(panels):
        assert f"\n{panel}:\n" in printed
    if panels:
        assert panels[0] == "Basics"


@pytest.mark.parametrize(("name", "command"), [("", GROUP), *ALL.items()])
def test_the_help_of_an_option_is_one_line(name, command):
    for parameter in options_of(command):
        assert len(parameter.help) <= 90 and "\n" not in parameter.help, parameter.name


@pytest.mark.parametrize("name", ALL)
def test_the_help_of_a_command_names_the_shared_options_it_takes(name):
    [*_, last] = help_of(*name.split()).strip().split("\n\n")
    takes = option_checks.USES.get(name, "").split()
    assert last.startswith("Also takes") == bool(takes)
    words = last.replace(",", "").split()
    assert all({f"--{option}", f"--no-{option}"} & {*words} for option in takes)


def test_every_shared_option_is_explained_once_and_taken_by_a_command():
    printed = help_of()
    names = {field.name for field in fields(shared.Shared)}
    assert names == {p.name for p in option_checks.shared_parameters(GROUP)}
    for parameter in option_checks.shared_parameters(GROUP):
        assert parameter.help in printed and "Shared options" in parameter.rich_help_panel


def test_a_shared_option_may_stand_anywhere(monkeypatch):
    given = []
    monkeypatch.setattr(
        scoring, "settings_of", lambda arguments: given.append(arguments["ctx"].obj) or {}
    )
    for line in (
        ["score", "images", "--seed", "1", "--batch-size", "auto", "--no-fiftyone", "--fresh"],
        ["--seed", "1", "--no-fiftyone", "score", "--fresh", "images"],
        ["--fresh", "--no-fiftyone", "score", "--seed=1", "--", "images"],
    ):
        CliRunner().invoke(command_line, line)
    assert given == [shared.Shared(seed=1, fiftyone=False, fresh=True)] * 3


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        (name, parameter)
        for name in ALL
        for parameter in option_checks.shared_parameters(GROUP)
        if parameter not in option_checks.shared_parameters(GROUP, name)
    ],
)
def test_a_shared_option_without_effect_is_refused(name, parameter, monkeypatch, capsys):
    option = typed(parameter)
    said = refused(monkeypatch, capsys, *name.split(), *FIRST.get(name, []), *option)
    assert said == f"Error: {option[0]} has no effect on mincurate {name}.\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("score . --train-steps 5 --train-minutes 1", "together with --train-steps"),
        ("augment --guide-steps 5 --guide-minutes 1", "together with --guide-steps"),
        ("score . --model m --train-steps 5", "--train-steps has no effect together with --model"),
        ("score . --model m --train-minutes 5", "together with --model"),
        ("score . --model m --image-size 16", "together with --model"),
        ("score . --no-labels --label-field x", "together with --no-labels"),
        ("score . --no-labels --within-label", "together with --no-labels"),
        ("score . --no-fiftyone --dataset x", "together with --no-fiftyone"),
        ("score fiftyone:x --path-column p", "--path-column has no effect on a FiftyOne dataset"),
        ("score fiftyone:x --follow-links", "--follow-links has no effect on a FiftyOne dataset"),
        ("train . -o m --model m --image-size 16", "together with --model"),
        ("train . -o m --all-levels --sigma 1", "together with --all-levels"),
        ("guide --model m --train-steps 5", "together with --model"),
        ("guide --workers 2", "without --ray"),
        ("augment --workers 2", "without --ray"),
        ("augment --model m --train-steps 5", "together with --model"),
        ("augment --strength 0.5", "without --init real or --like"),
        ("augment --strength 0.5 --init noise", "without --init real or --like"),
        ("augment --like tag:x --init real", "together with --like"),
        ("augment --no-fiftyone --dataset x", "together with --no-fiftyone"),
        ("rebalance --model m --train-steps 5", "together with --model"),
        ("verify 1 --all", "leave out --all or 1"),
        ("worker 1 --until-idle", "--until-idle has no effect on a single operation"),
    ],
)
def test_an_option_without_effect_together_with_another_is_refused(
    line, words, monkeypatch, capsys
):
    assert words in refused(monkeypatch, capsys, *line.split())


def test_what_has_an_effect_is_not_refused(monkeypatch, capsys):
    for line in (
        "augment --strength 0.5 --init real",
        "augment --strength 0.5 --like tag:x --dataset d --no-fiftyone",
        "guide --ray local --workers 2",
    ):
        assert "no run yet" in refused(monkeypatch, capsys, *line.split())


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ({}, {}),
        ({"yes": True, "fresh": True}, {"resume": False}),
        ({"workers": 3}, {"workers": 3}),
        ({"ray": "local"}, {"engine": "ray", "address": None}),
        (
            {"ray": "head:6379", "workers": 3},
            {"engine": "ray", "address": "head:6379", "num_workers": 3},
        ),
    ],
)
def test_shared_options_become_settings_of_the_library(line, settings):
    assert shared.library_settings(shared.Shared(**line)) == settings


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--device"], "requires an argument"),
        (["--batch-size", "big"], "neither a number nor auto"),
    ],
)
def test_a_shared_option_without_its_value_is_wrong_usage(line, words):
    result = CliRunner().invoke(command_line, ["score", "images", *line])
    assert result.exit_code == 2 and words in result.output


def test_the_command_line_offers_every_sampler_solver_and_ranking():
    generate, score = get_type_hints(generate_commands.augment), get_type_hints(scoring.score)
    assert set(get_args(generate["sampler"])) == set(samplers.SAMPLERS)
    solver, _ = get_args(generate["solver"])
    assert set(get_args(solver)) == set(samplers.SOLVERS)
    rankings, _ = get_args(score["rank_by"])
    assert set(get_args(rankings)) == set(classes.RANKINGS)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["score", ""], "An argument is empty"),
        (["score", "images", "--output="], "--output is empty"),
        (["score", "images", "--output", " "], "--output is empty"),
    ],
)
def test_an_empty_argument_is_refused(line, words, monkeypatch, capsys):
    """A variable of the shell that is not set would mean this folder."""
    assert words in refused(monkeypatch, capsys, *line)
