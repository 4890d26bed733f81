"""Images in an S3 storage that runs on this machine."""

import hashlib

import pandas as pd
import pytest

from mincurate import audit, collection, images, objects, shards, sources
from mincurate.errors import UserError

moto_server = pytest.importorskip("moto.server")
boto3 = pytest.importorskip("boto3")
pytest.importorskip("s3fs")


@pytest.fixture(scope="module")
def storage():
    """A client of a server with one empty bucket, ``photos``; its address is in the environment."""
    import s3fs

    patch = pytest.MonkeyPatch()
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    patch.setenv("AWS_ACCESS_KEY_ID", "key")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="photos")
    yield client
    s3fs.S3FileSystem.clear_instance_cache()
    patch.undo()
    server.stop()


@pytest.fixture(scope="module")
def stored(storage, shapes):
    """The shapes below ``s3://photos/shapes``, and objects that are no images beside them."""
    for path in shapes.rglob("*.png"):
        key = f"shapes/{path.relative_to(shapes).as_posix()}"
        storage.upload_file(str(path), "photos", key)
    for key, body in {"cross/notes.txt": b"-", "disc/.hidden.png": b"-"}.items():
        storage.put_object(Bucket="photos", Key=f"shapes/{key}", Body=body)
    return "s3://photos/shapes"


def test_objects_below_a_url_are_found_as_files_in_a_folder_are(stored, shapes):
    here, there = sources.find(shapes), sources.find(stored)
    assert [(s.rel_path, s.label) for s in there] == [(s.rel_path, s.label) for s in here]
    assert all(s.path == f"{stored}/{s.rel_path}" for s in there)


def test_an_object_is_the_image_that_its_file_is(stored, shapes):
    here, there = sources.find(shapes)[3], sources.find(stored + "/")[3]
    assert images.identify(there, size=None) == images.identify(here, size=None)
    assert (images.decode(there.path, size=16) == images.decode(here.path, size=16)).all()


def test_a_table_may_name_objects_and_files_side_by_side(stored, shapes, tmp_path):
    file = next((shapes / "disc").iterdir())
    table = tmp_path / "images.csv"
    paths = [f"{stored}/cross/000.png", str(file), file.as_uri(), f"{stored}/none.png"]
    pd.DataFrame({"path": [*paths, "ftp://x/y.png"]}).to_csv(table, index=False)
    found = sources.find(table)
    read = [images.identify(source, size=None) for source in found]
    digest = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()
    assert [i.reason for i in read[:2]] == [None, None] and read[1].content_hash == digest
    # The URL of the file is the file: a repeated row.
    assert [i.reason for i in read[2:]] == ["file not found", "a URL of a kind that is not read"]


@pytest.mark.parametrize(
    ("body", "reason"), [(b"", "empty file"), (b"%PDF-1.7", "unsupported format: PDF")]
)
def test_an_object_that_holds_no_image_gets_the_reason_of_a_file(storage, body, reason):
    storage.put_object(Bucket="photos", Key="odd/a.png", Body=body)
    [source] = sources.find("s3://photos/odd")
    assert images.identify(source, size=None).reason == reason


def test_an_object_larger_than_the_limit_is_not_fetched(storage, monkeypatch):
    storage.put_object(Bucket="photos", Key="large.png", Body=b"x" * 100)
    with pytest.raises(OSError, match="too large"):
        objects.read("s3://photos/large.png", 99)


def test_a_place_without_images_is_refused_in_a_sentence(storage):
    for url in ("s3://photos/nothing-here", "s3://no-such-bucket"):
        with pytest.raises(UserError, match=r"^s3://.* (holds no images|cannot be listed)"):
            sources.find(url)


def test_fiftyone_is_not_given_what_it_cannot_show(stored):
    with pytest.raises(UserError, match="--no-fiftyone"):
        audit.score(stored)


def test_a_file_url_is_the_folder_that_it_names(shapes):
    found = collection.open_collection(shapes.as_uri())
    assert found.value == str(shapes) and len(found.files) == 60


@pytest.mark.slow
def test_objects_get_the_scores_that_their_files_get(stored, shapes, tmp_path):
    plain = {"fiftyone": False, "n_draws": 2, "train_steps": 20}
    here = audit.score(shapes, output=tmp_path / "here", **plain)
    there = audit.score(stored, output=tmp_path / "there", **plain)
    pd.testing.assert_frame_equal(there.frame.drop(columns="path"), here.frame.drop(columns="path"))
    assert there.report.is_file()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_workers_of_a_cluster_give_objects_the_table_of_this_process(
    stored, tmp_path, monkeypatch
):
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setattr(shards, "SHARD_IMAGES", 10)
    plain = {"fiftyone": False, "umap": False, "n_draws": 2, "train_steps": 20}
    here = audit.score(stored, output=tmp_path / "here", **plain)
    on_ray = {"engine": "ray", "num_workers": 2, "output": tmp_path / "there"}
    there = audit.score(stored, **on_ray, **plain)
    assert (there.frame["status"] == "ok").all() and len(there.frame) == 60
    assert there.frame["path"].str.startswith("s3://photos/shapes/").all()
    pd.testing.assert_frame_equal(there.frame, here.frame, check_exact=False, rtol=1e-4, atol=1e-5)
