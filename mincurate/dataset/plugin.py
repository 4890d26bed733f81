"""The plugin for the FiftyOne App: where it is, and its link in FiftyOne's folder of plugins.

FiftyOne finds plugins in one folder alone (``FIFTYONE_PLUGINS_DIR``, or ``~/fiftyone/__plugins__``)
and knows no entry points. The plugin is linked there, so that it is always the installed version.
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from mincurate.errors import UserError

NAME = "@mincurate/mincurate"
FOLDER = "mincurate"
"""Name of the link."""
MANIFEST = "fiftyone.yml"


@dataclass(frozen=True)
class State:
    """Whether the plugin is where FiftyOne finds it.

    Attributes:
        link: where it belongs.
        source: the plugin of this installation.
        installed: whether FiftyOne finds a plugin of mincurate at ``link``.
        current: whether that is the one of this installation.
        version: of the plugin found there, or ``None``.
    """

    link: Path
    source: Path
    installed: bool
    current: bool
    version: str | None

    @property
    def words(self) -> str:
        """In a sentence, with what to do."""
        if not self.installed:
            return f"not installed in {self.link.parent}: `mincurate plugins install` links it"
        if self.current:
            return f"version {self.version}, {self.link}"
        return (
            f"{self.link} is of another installation (version {self.version}; this is "
            f"{version('mincurate')}): `mincurate plugins install` links this one"
        )


def path() -> Path:
    """The folder of the plugin: inside of the package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "plugin", package.parent / "plugins" / FOLDER):
        if (folder / MANIFEST).is_file():
            return folder
    raise UserError(f"The plugin is missing in {package}; install mincurate again.")


def folder() -> Path:
    """FiftyOne's folder of plugins."""
    from mincurate.dataset.database import fiftyone

    return Path(fiftyone().config.plugins_dir).expanduser().absolute()


def state() -> State:
    """Whether the plugin is installed, and which version."""
    source, link = path(), folder() / FOLDER
    manifest = _manifest(link)
    installed = manifest.get("name") == NAME
    current = installed and link.resolve() == source
    return State(link, source, installed, current, manifest.get("version") if installed else None)


def install() -> tuple[State, str]:
    """Link the plugin into FiftyOne's folder of plugins; again, it changes nothing.

    A copy of the plugin in its place is moved to ``.mincurate-VERSION-DIGITS`` beside the link,
    where FiftyOne does not look: it may hold changes.

    Returns:
        The state afterwards, and what was done: ``installed``, ``updated`` or ``unchanged``.

    Raises:
        UserError: something else is in the way, or the folder cannot be written.
    """
    now = state()
    if now.current:
        return now, "unchanged"
    link, dangling = now.link, now.link.is_symlink() and not now.link.exists()
    if os.path.lexists(link) and not dangling and not now.installed:
        raise UserError(f"{link} is not mincurate's plugin; move it away and install again.")
    beside = link.with_name(f".{FOLDER}-{os.getpid()}")
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        beside.symlink_to(now.source, target_is_directory=True)
        if now.installed and not link.is_symlink():
            link.rename(link.with_name(f".{FOLDER}-{now.version}-{time.time_ns()}"))
        # In one step, so that a running App never finds half of it.
        beside.replace(link)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise UserError(
            f"Cannot link the plugin into {link.parent}: {error.strerror}; choose another folder "
            "with FIFTYONE_PLUGINS_DIR."
        ) from error
    return state(), "updated" if now.installed or dangling else "installed"


def uninstall() -> Path | None:
    """Remove the link of the plugin, whichever installation it leads to.

    Returns:
        The link that was removed; ``None`` when there was none.

    Raises:
        UserError: it is a folder and no link, or cannot be removed.
    """
    link = folder() / FOLDER
    if not os.path.lexists(link):
        return None
    if not link.is_symlink():
        raise UserError(f"{link} is a folder and not mincurate's link: delete it yourself.")
    try:
        link.unlink()
    except OSError as error:
        raise UserError(f"Cannot remove {link}: {error.strerror}.") from error
    return link


def _manifest(place: Path) -> dict[str, str]:
    """Name and version in a plugin's manifest; empty where there is none."""
    import yaml

    try:
        manifest = yaml.safe_load((place / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return manifest if isinstance(manifest, dict) else {}
