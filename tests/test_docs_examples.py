"""The shell and Python blocks of README, docs/ and examples/.

Every block of a page is run, in order, on a few small images with few steps, unless a line
``<!-- not run: REASON -->`` stands before it. What is not run is at least looked up: commands,
options and the types of their values.
"""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import draw_shapes, shorten_training

from mincurate.cli import option_checks, parsing

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))

from commands_page import app, commands  # noqa: E402

PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
)
FENCE = re.compile(
    r"(?:<!-- not run: *(.*?) *-->\n)?^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
FAST = {
    "score": ["--no-fiftyone", "--no-umap"],
    "score-new": ["--no-fiftyone"],
    "retry": ["--no-fiftyone"],
    "augment": ["--no-fiftyone", "--guide-steps", "3", "--steps", "3", "--n", "8"],
    "rebalance": ["--no-fiftyone", "--guide-steps", "3", "--steps", "3", "--cap", "4"],
}
"""Options after those of a page: of two, the last counts."""


def quick(*arguments: str) -> list[str]:
    """A command of a page that trains for few steps, unless it trains for minutes or not at all."""
    trains = arguments[0] in ("score", "train", "augment", "rebalance")
    trains &= not {"--model", "--train-minutes"} & {*arguments}
    steps = ["--train-steps", "3"] if trains else []
    return [*arguments, *FAST.get(arguments[0], []), *steps]


@dataclass(frozen=True)
class Block:
    """A block of code of a page."""

    page: Path
    language: str
    code: str
    not_run: str | None

    @property
    def runs(self) -> bool:
        return self.language != "text" and self.not_run is None

    @property
    def lines(self) -> list[list[str]]:
        """The words of every command, without comments."""
        joined = self.code.replace("\\\n", " ")
        return [
            words for line in joined.splitlines() if (words := shlex.split(line, comments=True))
        ]


def blocks(page: Path) -> list[Block]:
    return [
        Block(page, language, code, reason or None)
        for reason, language, code in FENCE.findall(page.read_text())
    ]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


ALL = [block for page in PAGES for block in blocks(page)]
RUN = [
    p for p in PAGES if any(b.language in ("bash", "python") and not b.not_run for b in blocks(p))
]


def test_every_block_says_what_it_is():
    assert {block.language for block in ALL} <= {"bash", "python", "text"}
    fences = sum(p.read_text().count("\n```") for p in PAGES)
    assert fences == 2 * len(ALL)
    markers = sum(p.read_text().count("<!-- not run") for p in PAGES)
    assert markers == sum(block.not_run is not None for block in ALL)


def spoken(page: Path) -> Iterator[str]:
    """Commands in the sentences of a page: between backticks, outside of blocks."""
    text = FENCE.sub("", page.read_text())
    yield from re.findall(r"`(mincurate [a-z][^`]*)`", text)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_a_page_exists_with_its_options(page, monkeypatch):
    # Parses the options and the types of their values, refuses those without effect, and no more.
    monkeypatch.setattr(parsing.Command, "invoke", lambda command, ctx: option_checks.check(ctx))
    group, by_name = app(), dict(commands())
    for code in spoken(page):
        _, *words = code.split()
        name = command_name(words, by_name)
        options = (
            {
                option
                for parameter in (
                    *by_name[name].params,
                    *option_checks.shared_parameters(group, name),
                )
                for option in (*parameter.opts, *parameter.secondary_opts)
            }
            if name
            else set()
        )
        given = {word.partition("=")[0] for word in words if word.startswith("-")}
        assert name and given <= {*options, "--help"}, code
    for block in blocks(page):
        for words in block.lines if block.language == "bash" else []:
            if words[0] == "mincurate":
                group.main(words[1:], prog_name="mincurate", standalone_mode=False)


def command_name(words: list[str], by_name: dict) -> str | None:
    """The command that words begin with: of one word, or of two."""
    return next((n for n in (" ".join(words[:2]), words[0]) if n in by_name), None)


SCRIPT = re.compile(r"python ((?:benchmarks|examples)/[\w/]+\.py)((?: [^`\n]*)?)")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_script_of_a_page_exists_and_has_the_options_named(page):
    for script, rest in SCRIPT.findall(page.read_text()):
        folder = (ROOT / script).parent
        source = (ROOT / script).read_text() + "".join(p.read_text() for p in folder.glob("*.py"))
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", rest):
            known = f'"{option}"' in source or f"{option[2:].replace('-', '_')}:" in source
            assert known, f"{script} {option}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pages find their images, and the home that they share."""
    folder = tmp_path_factory.mktemp("pages")
    draw_shapes(folder / "images", discs=30, crosses=6)
    names = sorted(str(p.relative_to(folder)) for p in (folder / "images").rglob("*.png"))
    rows = [f"{name},{name.split('/')[1]}" for name in names]
    (folder / "images.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return folder


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_the_blocks_of_a_page_run_in_order(page, place, tiny, tmp_path, monkeypatch, say):
    monkeypatch.setenv("MINCURATE_HOME", str(place / "home"))
    shorten_training(monkeypatch)
    monkeypatch.chdir(place)
    if not (place / "home").exists():  # what the guides go on from: two scored runs, a generation
        for arguments in (["score", "images"], ["score", "images", "--seed", "1"]):
            assert say(*quick(*arguments))[0] == 0
        assert say(*quick("augment", "--top-fraction", "1"))[0] == 0
    shutil.copytree(place / "images", tmp_path / "images")
    shutil.copy(place / "images.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks(page):
        if not block.runs:
            continue
        if block.language == "python":
            exec(compile(block.code, str(page), "exec"), names)
        for program, *arguments in block.lines if block.language == "bash" else []:
            assert program == "mincurate", f"{program} is not run: say so above the block"
            code, printed = say(*quick(*arguments))
            assert code == 0, printed
