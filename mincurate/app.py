"""The FiftyOne App, opened on the ranked images."""

import socket
import time

from mincurate import dataset as storage
from mincurate.errors import UserError
from mincurate.presentation import WORKSPACE
from mincurate.progress import SILENT, Reporter


def open_app(
    name: str,
    *,
    port: int = 5151,
    address: str = "localhost",
    remote: bool = False,
    wait: bool = True,
    reporter: Reporter = SILENT,
) -> str:
    """Open the App on a dataset: rarest images first, score on the tiles, the map beside them.

    Args:
        remote: serve only, and open no browser.
        wait: stay until Ctrl-C, which closes the App.

    Returns:
        The address of the ranked view.

    Raises:
        UserError: no such dataset, no scores in it, or the port is taken.
    """
    storage.check_database()
    dataset = storage.load(name)
    if not dataset.has_saved_view("most-minority"):
        raise UserError(f"The dataset {name!r} has no scores yet: mincurate score fiftyone:{name}.")
    if _taken(port, address):
        raise UserError(f"Port {port} is in use; choose another with --port.")
    fo = storage.fiftyone()
    spaces = None
    if WORKSPACE in dataset.list_workspaces():
        spaces = dataset.load_workspace(WORKSPACE)
    session = fo.launch_app(
        view=dataset.load_saved_view("most-minority"),
        spaces=spaces,
        port=port,
        address=address,
        remote=remote,
        auto=False,
    )
    url = f"http://{address}:{port}/datasets/{name}?view=most-minority"
    reporter.say(f"The ranked images of {name}: {url}")
    if not remote:
        session.open()
    if wait:
        reporter.say("Ctrl-C closes the App.")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            reporter.say("Closed.")
        finally:
            session.close()
    return url


def _taken(port: int, address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0
