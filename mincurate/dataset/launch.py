"""The FiftyOne App, opened on the ranked images."""

import errno
import os
import socket
import time
from urllib.parse import quote

from mincurate.dataset import database, object_ranks, ownership
from mincurate.dataset.app_config import BRAIN_KEY, WORKSPACE, workspace
from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter
from mincurate.runs import command

RANKED = "rarest-first"
"""The saved view of the ranked images."""


def open_app(
    name: str,
    *,
    port: int = 5151,
    address: str = "localhost",
    remote: bool = False,
    wait: bool = True,
    long_tail: bool = False,
    reporter: Reporter = SILENT,
) -> str:
    """Open the App on a dataset: rarest images first, score on the tiles, the map beside them.

    Args:
        remote: serve only, and open no browser.
        wait: stay until Ctrl-C, which closes the App.
        long_tail: the plugin is there, and its panel opens beside the images.

    Returns:
        The address of the ranked view.

    Raises:
        UserError: no such dataset, no scores in it, or the port is taken.
    """
    # The App's server, a process of its own, offers to schedule operations only with this.
    os.environ.setdefault("FIFTYONE_ALLOW_LEGACY_ORCHESTRATORS", "true")
    # Else it imports every plugin again for every click, which takes longer than the answer.
    os.environ.setdefault("FIFTYONE_PLUGINS_CACHE_ENABLED", "true")
    database.check_database()
    dataset = database.load(name)
    entries = ownership.read(dataset)
    view = object_ranks.VIEW if object_ranks.of_objects(dataset, entries.current) else RANKED
    if view not in entries.views:
        score = command.quoted("mincurate", "score", f"fiftyone:{name}")
        raise UserError(f"The dataset {name!r} has no scores: give them with `{score}`.")
    _check_address(address, port)
    fo = database.fiftyone()
    from fiftyone.core.service import ServiceListenTimeout

    spaces = None
    has_map = BRAIN_KEY in dataset.list_brain_runs()
    if long_tail:
        spaces = workspace(fo, has_map, long_tail=True)
    elif WORKSPACE in dataset.list_workspaces():
        spaces = dataset.load_workspace(WORKSPACE)
    try:
        session = fo.launch_app(
            # By position: FiftyOne takes the dataset's colours only from its first argument.
            dataset.load_saved_view(view),
            spaces=spaces,
            port=port,
            address=address,
            remote=remote,
            auto=False,
        )
    except ServiceListenTimeout as error:
        raise UserError(
            "FiftyOne's server did not start within a minute; if the machine is busy, give the "
            "command again later."
        ) from error
    host = "localhost" if address in ("0.0.0.0", "::") else address
    url = f"http://{host}:{port}/datasets/{quote(name, safe='')}?view={view}"
    reporter.say(f"The ranked images of {name}: {url}")
    if not remote:
        session.open()
    if wait:
        if has_map and not long_tail:
            reporter.say("The map: click minority_umap there, and colour it by rarity_class.")
        try:
            reporter.say("Ctrl-C closes the App.")
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            reporter.say("Closed.")
        finally:
            session.close()
    return url


def _check_address(address: str, port: int) -> None:
    """Listen there for a moment: FiftyOne would try for a minute and then say little."""
    try:
        family, kind, _, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((place[0], port, *place[2:]))  # the resolver takes 70000 for 4464
    except (OSError, OverflowError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise UserError(f"Port {port} is in use; choose another with --port.") from error
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"The App cannot listen at {address}, port {port} ({reason}): choose another with "
            "--address and --port."
        ) from error
