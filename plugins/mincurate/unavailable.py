"""Stand-ins for operators and panels where the plugin cannot work; each shows the reason."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
import fiftyone.operators.types as types
import yaml

MANIFEST = yaml.safe_load((Path(__file__).parent / "fiftyone.yml").read_text(encoding="utf-8"))

UNLISTED = ("watch", "get_ready")
"""Operators that are called by the App and the panels only."""


def problem() -> str | None:
    """Why the plugin cannot work and what to do, or ``None`` where plugin and package match."""
    try:
        import mincurate  # noqa: F401

        installed = version("mincurate")
    except (ImportError, PackageNotFoundError):
        return (
            "mincurate is not installed for the Python that runs this App: install it there and "
            "restart the App."
        )
    if installed != MANIFEST["version"]:
        return (
            f"The plugin is of mincurate {MANIFEST['version']}, but {installed} is installed: "
            "run `mincurate plugins install` and restart the App."
        )
    return None


def stand_ins(sentence: str) -> list[type]:
    """An operator or panel for every name in the manifest that shows ``sentence``."""
    operators = [_operator(name, sentence) for name in MANIFEST["operators"]]
    return operators + [_panel(name, sentence) for name in MANIFEST["panels"]]


def _operator(name: str, sentence: str) -> type:
    class Refused(foo.Operator):
        @property
        def config(self) -> foo.OperatorConfig:
            label = f"mincurate: {name.replace('_', ' ')}"
            return foo.OperatorConfig(name=name, label=label, unlisted=name in UNLISTED)

        def resolve_input(self, ctx: Any) -> types.Property:
            inputs = types.Object()
            shown = inputs.view("refusal", types.Warning(label=sentence))
            shown.invalid, shown.error_message = True, sentence
            return types.Property(inputs)

        def execute(self, ctx: Any) -> None:
            raise RuntimeError(sentence)

    return Refused


def _panel(name: str, sentence: str) -> type:
    class Refused(foo.Panel):
        @property
        def config(self) -> foo.PanelConfig:
            return foo.PanelConfig(name=name, label=f"mincurate: {name.replace('_', ' ')}")

        def render(self, ctx: Any) -> types.Property:
            panel = types.Object()
            panel.md(sentence, name="refusal")
            return types.Property(panel)

    return Refused
