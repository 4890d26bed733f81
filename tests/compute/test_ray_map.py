"""Work on a real Ray cluster on this machine: what dies, dies."""

import os
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from mincurate.compute import ray_map
from mincurate.compute.ray_map import Cluster, Mapped
from mincurate.errors import UserError
from mincurate.pipelines import score
from mincurate.ranking import score_shards, shard_loop
from mincurate.runs import shards

ray = pytest.importorskip("ray")
# Workers start slowly where other things run beside them.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module", autouse=True)
def functions_of_this_file_travel_whole():
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # or other tests beside these starve the workers
        yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def two_nodes(monkeypatch):
    """A cluster of two nodes with one CPU each, and a head that computes nothing."""
    from ray.cluster_utils import Cluster as Machines

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    memory = {"object_store_memory": 100 * 2**20}
    machines = Machines(True, head_node_args={"num_cpus": 0, "include_dashboard": False, **memory})
    nodes = [machines.add_node(num_cpus=1, **memory) for _ in range(2)]
    machines.wait_for_nodes()
    yield machines, nodes
    ray.shutdown()
    machines.shutdown()


def files(n: int, start: int = 0) -> list[tuple[str, str]]:
    return [(str(i), f"/{i}.png") for i in range(start, start + n)]


def building(fate, folder):
    """Work that gives the names of its files back, after ``fate`` has seen each."""

    def work(items):
        for name, _ in items:
            fate(name, folder)
        return [name for name, _ in items]

    return work


def gathered(done: list[Mapped]) -> dict[int, list[str]]:
    return {m.shard: [name for part in m.results for name in part] for m in done}


def dies_of_13_and_57(name, folder):
    if name in ("13", "57"):
        os._exit(1)


def test_a_file_that_kills_workers_is_found_and_the_others_are_done():
    todo = [(shard, files(40, 40 * shard)) for shard in range(3)]
    build = partial(building, dies_of_13_and_57, None)
    done = list(ray_map.on_ray(build, todo, Cluster(num_workers=2)))
    assert {m.shard: m.killers for m in done} == {0: ["13"], 1: ["57"], 2: []}
    expected = {s: [name for name, _ in items] for s, items in todo}
    expected[0].remove("13")
    expected[1].remove("57")
    assert gathered(done) == expected
    assert not ray.is_initialized()


def dies_of_one_in_ten(name, folder):
    """The first time that a file is seen, so that a second one goes well."""
    seen = Path(folder) / name
    if int(name) % 10 == 3 and not seen.exists():
        seen.touch()
        os._exit(1)


def test_workers_that_die_by_chance_lose_nothing(tmp_path):
    todo = [(shard, files(10, 10 * shard)) for shard in range(8)]
    build = partial(building, dies_of_one_in_ten, str(tmp_path))
    done = list(ray_map.on_ray(build, todo, Cluster(num_workers=2)))
    assert not any(m.killers for m in done)
    assert gathered(done) == {s: [name for name, _ in items] for s, items in todo}


def always_dies(name, folder):
    os._exit(1)


def test_workers_that_always_die_end_the_run_with_a_sentence(monkeypatch):
    monkeypatch.setattr(ray_map, "DEATHS_IN_A_ROW", 2)
    build = partial(building, always_dies, None)
    with pytest.raises(UserError, match="died 5 times in a row"):
        list(ray_map.on_ray(build, [(0, files(64))], Cluster(num_workers=1)))


def refuses(name, folder):
    raise UserError("There is no such model.")


def test_an_error_in_a_worker_is_the_runs_own():
    build = partial(building, refuses, None)
    with pytest.raises(UserError, match=r"^There is no such model\.$"):
        list(ray_map.on_ray(build, [(0, files(4))], Cluster(num_workers=1)))


def test_an_address_where_no_cluster_is_becomes_a_sentence():
    with pytest.raises(UserError, match=r"No Ray cluster answers at 127\.0\.0\.1:1 "):
        list(ray_map.on_ray(partial(building, refuses, None), [], Cluster("127.0.0.1:1")))


def takes_a_moment(name, folder):
    time.sleep(0.1)


def test_a_node_that_is_lost_costs_no_file(two_nodes):
    machines, nodes = two_nodes
    build = partial(building, takes_a_moment, None)
    todo = [(shard, files(5, 5 * shard)) for shard in range(12)]
    done = []
    for mapped in ray_map.on_ray(build, todo, Cluster(machines.address)):
        done.append(mapped)
        if len(done) == 3:
            machines.remove_node(nodes[1], allow_graceful=False)
    assert gathered(done) == {s: [name for name, _ in items] for s, items in todo}
    assert not any(m.killers for m in done)


BUILD = score_shards.build_work


def build_frail(recipe, reading, folder):
    """The real work, whose worker dies before three of the shards, once each."""
    work = BUILD(recipe, reading)

    def frail(items, advance=None):
        seen = Path(folder) / items[0][0]
        if len(list(Path(folder).iterdir())) < 3 and not seen.exists():
            seen.touch()
            os._exit(1)
        return work(items, advance)

    return frail


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(shard_loop, "SHARD_IMAGES", 10)


def same_table(a, b):
    pd.testing.assert_frame_equal(a, b, check_exact=False, rtol=1e-4, atol=1e-5)


def test_a_lost_node_and_dying_workers_give_the_table_of_the_local_engine(
    two_nodes, small_shards, shapes, tmp_path, monkeypatch
):
    machines, nodes = two_nodes
    plain = {"fiftyone": False, "umap": False, "n_draws": 2, "train_steps": 2}
    here = score.score(shapes, output=tmp_path / "here", **plain)
    (tmp_path / "deaths").mkdir()
    monkeypatch.setattr(
        score_shards, "build_work", partial(build_frail, folder=str(tmp_path / "deaths"))
    )
    written = shards.write_shard

    def write_shard(run, kind, index, table, lost):
        written(run, kind, index, table, lost)
        if len(list((run.path / "shards").glob("scores-*.done"))) == 2:
            machines.remove_node(nodes[1], allow_graceful=False)

    monkeypatch.setattr(shards, "write_shard", write_shard)
    there = score.score(
        shapes,
        output=tmp_path / "there",
        engine="ray",
        address=machines.address,
        **plain,
    )
    assert len(list((tmp_path / "deaths").iterdir())) == 3
    assert (there.frame["status"] == "ok").all()
    same_table(there.frame, here.frame)


def test_a_run_begun_here_is_finished_on_ray(small_shards, shapes, tmp_path, monkeypatch):
    plain = {"fiftyone": False, "umap": False, "n_draws": 4, "adaptive": True, "train_steps": 2}
    whole = score.score(shapes, output=tmp_path / "whole", **plain)
    written = shards.write_shard

    def stop_after_two(run, kind, index, table, lost):
        if kind == "scores" and index == 2:
            raise KeyboardInterrupt
        written(run, kind, index, table, lost)

    monkeypatch.setattr(shards, "write_shard", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        score.score(shapes, output=tmp_path / "half", **plain)
    monkeypatch.setattr(shards, "write_shard", written)
    first = {
        p: p.stat().st_mtime_ns for p in (tmp_path / "half" / "shards").glob("scores-*.parquet")
    }
    assert len(first) == 2
    rest = score.score(shapes, output=tmp_path / "half", engine="ray", num_workers=1, **plain)
    same_table(rest.frame, whole.frame)
    assert all(p.stat().st_mtime_ns == mtime for p, mtime in first.items())


def build_allergic(recipe, reading, poison):
    work = BUILD(recipe, reading)

    def allergic(items, advance=None):
        if any(content == poison for content, _ in items):
            os._exit(1)
        return work(items, advance)

    return allergic


@pytest.mark.long
def test_an_image_that_kills_workers_is_unscorable_and_stays_so(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_loop, "SHARD_IMAGES", 2)  # each further halving starts workers anew
    plain = {"fiftyone": False, "umap": False, "n_draws": 2, "train_steps": 2, "max_images": 12}
    here = score.score(shapes, output=tmp_path / "here", **plain).frame
    poison = here["content_hash"][7]
    monkeypatch.setattr(score_shards, "build_work", partial(build_allergic, poison=poison))
    on_ray = {"output": tmp_path / "there", "engine": "ray", "num_workers": 1}
    frame = score.score(shapes, **on_ray, **plain).frame
    bad = frame[frame["status"] != "ok"]
    assert bad["content_hash"].tolist() == [poison]
    assert bad["reason"].tolist() == [ray_map.KILLED]
    again = score.score(shapes, output=tmp_path / "there", **plain).frame
    same_table(again, frame)


def test_the_options_of_the_engine_have_to_fit(shapes):
    for wrong in ({"engine": "dask"}, {"address": "auto"}, {"engine": "ray", "num_workers": 0}):
        with pytest.raises(UserError):
            score.score(shapes, fiftyone=False, **wrong)
