"""Images in storages that run on this machine: moto's S3, and an emulator of Google's."""

import hashlib
import logging
import subprocess
import sys

import pandas as pd
import pytest

from mincurate.errors import UserError
from mincurate.images import collection, decode, object_storage, sources
from mincurate.pipelines import score


class Storage:
    """A running server with one empty bucket, ``photos``.

    Attributes:
        scheme: of the URLs that name what is in it.
        put: gives an object a key below the bucket.
    """

    def __init__(self, scheme, put):
        self.scheme, self.put = scheme, put
        self.url = f"{scheme}://photos"


def s3(patch):
    server_of = pytest.importorskip("moto.server")
    boto3 = pytest.importorskip("boto3")
    s3fs = pytest.importorskip("s3fs")
    server = server_of.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    patch.setenv("AWS_ACCESS_KEY_ID", "key")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="photos")
    yield Storage("s3", lambda key, body: client.put_object(Bucket="photos", Key=key, Body=body))
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def gs(patch):
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    gcsfs = pytest.importorskip("gcsfs")
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    server = emulator.create_server("127.0.0.1", 0, in_memory=True, default_bucket="photos")
    server.start()
    host, port = server._api._httpd.server_address
    patch.setenv("STORAGE_EMULATOR_HOST", f"http://{host}:{port}")
    gcsfs.GCSFileSystem.clear_instance_cache()
    bucket = Client(project="here", credentials=AnonymousCredentials()).bucket("photos")
    yield Storage("gs", lambda key, body: bucket.blob(key).upload_from_string(body))
    gcsfs.GCSFileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module", params=[s3, gs], ids=["s3", "gs"])
def storage(request):
    """A `Storage` whose address is in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        yield from request.param(patch)


@pytest.fixture(scope="module")
def stored(storage, shapes):
    """The shapes below ``shapes`` of the bucket, and objects that are no images beside them."""
    for path in shapes.rglob("*.png"):
        storage.put(f"shapes/{path.relative_to(shapes).as_posix()}", path.read_bytes())
    for key in ("cross/notes.txt", "disc/.hidden.png"):
        storage.put(f"shapes/{key}", b"-")
    return f"{storage.url}/shapes"


def test_objects_below_a_url_are_found_as_files_in_a_folder_are(stored, shapes):
    here, there = sources.find(shapes), sources.find(stored)
    assert [(s.rel_path, s.label) for s in there] == [(s.rel_path, s.label) for s in here]
    assert all(s.path == f"{stored}/{s.rel_path}" for s in there)


def test_an_object_is_the_image_that_its_file_is(stored, shapes):
    here, there = sources.find(shapes)[3], sources.find(stored + "/")[3]
    assert decode.identify(there, size=None) == decode.identify(here, size=None)
    assert (decode.decode(there.path, size=16) == decode.decode(here.path, size=16)).all()


def test_a_table_may_name_objects_and_files_side_by_side(stored, shapes, tmp_path):
    file = next((shapes / "disc").iterdir())
    table = tmp_path / "images.csv"
    paths = [f"{stored}/cross/000.png", str(file), file.as_uri(), f"{stored}/none.png"]
    pd.DataFrame({"path": [*paths, "ftp://x/y.png"]}).to_csv(table, index=False)
    found = sources.find(table)
    read = [decode.identify(source, size=None) for source in found]
    digest = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    assert [i.reason for i in read[:2]] == [None, None] and read[1].content_hash == digest
    # The URL of the file is the file: a repeated row.
    assert [i.reason for i in read[2:]] == ["file not found", "a URL of a kind that is not read"]


@pytest.mark.parametrize(
    ("body", "reason"), [(b"", "empty file"), (b"%PDF-1.7", "unsupported format: PDF")]
)
def test_an_object_that_holds_no_image_gets_the_reason_of_a_file(storage, body, reason):
    storage.put("odd/a.png", body)
    [source] = sources.find(f"{storage.url}/odd")
    assert decode.identify(source, size=None).reason == reason


def test_an_object_larger_than_the_limit_is_not_fetched(storage, monkeypatch):
    storage.put("large.png", b"x" * 100)
    with pytest.raises(OSError, match="too large"):
        object_storage.read(f"{storage.url}/large.png", 99)


def test_a_storage_does_not_warn_again_with_every_object(stored, caplog):
    object_storage.read(f"{stored}/cross/000.png", 10_000)
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        for i in range(1, 4):
            object_storage.read(f"{stored}/cross/{i:03d}.png", 10_000)
    assert not caplog.records


def test_a_place_without_images_is_refused_in_a_sentence(storage):
    with pytest.raises(UserError, match=rf"^{storage.url}/nothing-here holds no images"):
        sources.find(f"{storage.url}/nothing-here")
    nowhere = f"{storage.scheme}://no-such-bucket"
    with pytest.raises(UserError, match=rf"^{nowhere} cannot be listed: .*(no|not) .*"):
        sources.find(nowhere)


def test_fiftyone_is_not_given_what_it_cannot_show(stored):
    with pytest.raises(UserError, match="--no-fiftyone"):
        score.score(stored)


def test_a_file_url_is_the_folder_that_it_names(shapes):
    found = collection.open_collection(shapes.as_uri())
    assert found.value == str(shapes) and len(found.files) == 60


@pytest.mark.slow
def test_objects_get_the_scores_that_their_files_get(stored, shapes, tmp_path):
    plain = {"fiftyone": False, "n_draws": 2, "train_steps": 20}
    here = score.score(shapes, output=tmp_path / "here", **plain)
    there = score.score(stored, output=tmp_path / "there", **plain)
    pd.testing.assert_frame_equal(there.frame.drop(columns="path"), here.frame.drop(columns="path"))
    assert there.report.is_file()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "storage", [s3, pytest.param(gs, marks=pytest.mark.long)], ids=["s3", "gs"], indirect=True
)
def test_two_workers_of_a_cluster_give_objects_the_table_of_this_process(
    stored, tmp_path, monkeypatch
):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    from mincurate.ranking import shard_loop

    monkeypatch.setattr(shard_loop, "SHARD_IMAGES", 10)
    plain = {"fiftyone": False, "umap": False, "n_draws": 2, "train_steps": 20}
    here = score.score(stored, output=tmp_path / "here", **plain)
    on_ray = {"engine": "ray", "num_workers": 2, "output": tmp_path / "there"}
    there = score.score(stored, **on_ray, **plain)
    assert (there.frame["status"] == "ok").all() and len(there.frame) == 60
    assert there.frame["path"].str.startswith(f"{stored}/").all()
    pd.testing.assert_frame_equal(there.frame, here.frame, check_exact=False, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "key", ["a::b.png", "why?.png", "50%.png", "a b+c.png", "x[1]*.png", "é.png"]
)
def test_an_object_is_read_whatever_its_key(storage, shapes, key):
    data = next((shapes / "disc").iterdir()).read_bytes()
    storage.put(f"keys/{key}", data)
    [source] = [s for s in sources.find(f"{storage.url}/keys") if s.rel_path == key]
    assert object_storage.read(source.path, 10_000) == data
    assert decode.identify(source, size=None).reason is None


def test_a_scheme_in_capitals_is_the_same(stored):
    scheme, rest = stored.split("://")
    assert sources.find(f"{scheme.upper()}://{rest}") == sources.find(stored)
    assert object_storage.read(f"{scheme.upper()}://{rest}/disc/000.png", 10_000)
    collection.check_place(f"{scheme.upper()}://{rest}")


def test_results_in_a_bucket_are_no_images(storage):
    for key in ("a.png", "run/run.json", "run/figures/map.png", "run/images/mine.png", "notes.txt"):
        storage.put(f"mixed/{key}", b"-")
    for key in ("gen/run.json", "gen/manifest.jsonl", "gen/images/0.png"):
        storage.put(f"mixed/{key}", b"-")
    for key in ("out/export.json", "out/cat/a.png", "out/provenance.csv"):
        storage.put(f"mixed/{key}", b"-")
    listing = sources.read_place(f"{storage.url}/mixed")
    assert [s.rel_path for s in listing.sources] == ["a.png", "run/images/mine.png"]
    assert listing.passed_over[".txt"] == 1


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("s3://bucket/photos", "s3fs", "s3"),
        ("S3://bucket/photos", "fsspec", "s3"),
        ("gs://bucket", "gcsfs", "gcs"),
        ("GCS://bucket", "fsspec", "gcs"),
    ],
)
def test_a_missing_extra_is_named_in_the_first_sentence(url, package, extra):
    code = f"import sys; sys.modules[{package!r}] = None; "
    code += "from mincurate.images import collection, sources"
    for call in ("collection.check_place", "sources.find"):
        done = subprocess.run(
            [sys.executable, "-c", f"{code}; {call}({url!r})"], capture_output=True, text=True
        )
        last = done.stderr.strip().splitlines()[-1]
        way_out = f"needs an extra: pip install 'mincurate[{extra}]'."
        assert last == f"mincurate.errors.UserError: Reading {object_storage.normal(url)} {way_out}"


def test_a_url_that_is_not_read_is_said_to_be_none(tmp_path):
    for url in ("https://example.org/photos", "AZ://bucket/photos", "hdfs://x/y"):
        with pytest.raises(UserError, match=f"^{url.split(':')[0].lower()}:// is not read"):
            collection.check_place(url)
    with pytest.raises(UserError, match="alone"):
        collection.check_place(["s3://bucket/a.png", str(tmp_path)])
