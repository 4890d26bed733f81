"""Open the FiftyOne App on ranked images: the call behind ``mincurate launch``."""

from typing import Any

from mincurate.dataset import launch as app
from mincurate.dataset import lookup
from mincurate.dataset import plugin as plugins
from mincurate.errors import UserError
from mincurate.pipelines.open_images import is_dataset, run_of
from mincurate.progress import Reporter
from mincurate.terminal import choose_reporter


def launch(
    dataset: Any = None,
    *,
    port: int = 5151,
    address: str = "localhost",
    remote: bool = False,
    plugin: bool = True,
    wait: bool = False,
    reporter: Reporter | None = None,
    progress: bool | None = None,
) -> str:
    """Open the App on a dataset, the rarest images first.

    Args:
        dataset: its name, the dataset itself, or a run or result that was written to it; the one
            scored last when absent.
        port: of the App.
        address: that the App listens at.
        remote: serve only, and open no browser.
        plugin: install or update the App's plugin first.
        wait: stay until Ctrl-C, which closes the App.
        reporter: as in `score`, and ``progress`` likewise.

    Returns:
        The address of the ranked images.

    Raises:
        UserError: there is no such dataset, it has no scores, or the port is taken.
    """
    reporter = choose_reporter(reporter, progress)
    name = _name_of(dataset, reporter)
    panel = _install(reporter) if plugin else False
    return app.open_app(
        name,
        port=port,
        address=address,
        remote=remote,
        wait=wait,
        long_tail=panel,
        reporter=reporter,
    )


def _name_of(dataset: Any, reporter: Reporter) -> str:
    if isinstance(dataset, str):
        return dataset
    if is_dataset(dataset):
        return str(dataset._root_dataset.name)
    if (run := run_of(dataset)) is not None:
        name = lookup.dataset_of(run, reporter)
        if name is None:
            raise UserError(f"Run {run.key} has no dataset; `mincurate sync {run.key}` writes one.")
        return name
    if dataset is not None:
        kind = type(dataset).__name__
        raise UserError(f"A dataset is named by its name or a run, not by {kind}.")
    name = lookup.last_dataset(reporter)
    if name is None:
        raise UserError("There is no dataset yet; write one with `mincurate score PATH`.")
    return name


def _install(reporter: Reporter) -> bool:
    """Install or update the plugin, and return whether it is there."""
    try:
        state, change = plugins.install()
    except UserError as error:
        reporter.warn(f"{error} The App opens without the plugin (--no-plugin skips this check).")
        return False
    if change != "unchanged":
        reporter.say(f"The App's plugin is {change}: {state.link} (--no-plugin leaves it alone).")
    return True
