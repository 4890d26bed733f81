"""A folder or a table becomes a list of sources."""

import os
from pathlib import Path

import pytest
from PIL import Image

from mincurate.curation.export import RECORD as EXPORT_RECORD
from mincurate.errors import UserError
from mincurate.images.file_kinds import sniff
from mincurate.images.sources import Source, find, read_place
from mincurate.runs import store


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), "red").save(path, "PNG")
    return path


def names(sources: list[Source]) -> list[str]:
    return [source.rel_path for source in sources]


def reasons(sources: list[Source]) -> dict[str, str | None]:
    return {source.rel_path: source.reason for source in sources}


def test_a_folder_is_searched_to_its_depth_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/10.jpg", "a.tiff", "b/c/d/x.Jpe", "z.webp"):
        put(tmp_path / name)
    found = find(tmp_path)
    assert names(found) == ["a.tiff", "b/10.jpg", "b/2.PNG", "b/c/d/x.Jpe", "z.webp"]
    assert [source.path for source in found] == [str(tmp_path / name) for name in names(found)]
    assert set(reasons(found).values()) == {None}


def test_what_is_no_image_by_its_name_is_ignored(tmp_path: Path) -> None:
    put(tmp_path / "good.png")
    for name in ("notes.txt", "t.csv", "t.json", ".DS_Store", "Thumbs.db", ".hidden.png"):
        put(tmp_path / name)
    put(tmp_path / "__MACOSX" / "x.png")
    put(tmp_path / ".cache" / "x.png")
    assert names(find(tmp_path)) == ["good.png"]


def test_other_files_are_counted_by_their_suffix(tmp_path: Path) -> None:
    put(tmp_path / "good.png")
    for name in ("a.txt", "b/c.TXT", "b/d.json", "README", "._a.png", "Thumbs.db", "@eaDir/x.png"):
        put(tmp_path / name).write_text("-")
    listing = read_place(tmp_path)
    assert listing.passed_over == {".txt": 2, ".json": 1, "": 1}
    assert "Passed over: 4 other files (2 .txt, 1 without a suffix, 1 .json)." in listing.lines


def test_a_folder_without_images_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").touch()
    with pytest.raises(UserError, match=r"holds no images.*table train.parquet.*1 .parquet"):
        find(tmp_path)


def run_in(folder: Path, **facts: object) -> Path:
    """What a run leaves in a folder, as far as pictures are concerned."""
    store.create(folder, **facts)
    put(folder / "figures" / "map.png")
    if facts.get("kind") == store.AUGMENT:
        put(folder / "images" / "000000.png")
        put(folder / "baseline" / "images" / "0.png")
    (folder / "scores.csv").touch()
    return folder


def test_what_mincurate_has_written_is_no_input(tmp_path: Path, home: Path) -> None:
    put(tmp_path / "a.png")
    run_in(tmp_path / "results")
    run_in(tmp_path / "made" / "more", kind=store.AUGMENT)
    export = tmp_path / "export"
    put(export / "cat" / "a.png")
    (export / EXPORT_RECORD).write_text('{"fingerprint": "f", "started": "now", "finished": null}')
    found = read_place(tmp_path)
    assert names(found.sources) == ["a.png"]
    assert "export/, made/more/, results/" in found.notes[0] and not found.passed_over


def test_a_class_folder_that_is_given_as_output_keeps_its_images(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        put(tmp_path / name)
    store.create(tmp_path / "cat")
    put(tmp_path / "cat" / "figures" / "map.png")
    assert names(find(tmp_path)) == ["cat/1.png", "cat/2.png", "dog/1.png"]


def test_a_folder_that_is_its_own_output_is_scored_again_as_before(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    store.create(tmp_path)
    put(tmp_path / "figures" / "map.png")
    assert names(find(tmp_path)) == ["a.png"]


def test_another_programs_run_json_hides_nothing(tmp_path: Path) -> None:
    put(tmp_path / "figures" / "a.png")
    (tmp_path / "run.json").write_text('{"id": 1}')
    (tmp_path / "export.json").write_text("[]")
    assert names(find(tmp_path)) == ["figures/a.png"]


def test_the_home_of_mincurate_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "home" / "demo" / "x.png")
    monkeypatch.setenv("MINCURATE_HOME", str(tmp_path / "home"))
    assert names(find(tmp_path)) == ["a.png"]


def test_several_files_and_folders_are_one_place(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png", "owl/1.png"):
        put(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    run_in(tmp_path / "results")
    paths = [tmp_path / name for name in ("cat", "dog/1.png", "notes.txt", "cat/1.png")]
    listing = read_place(paths)
    assert [(s.rel_path, s.label) for s in listing.sources] == [
        ("cat/1.png", "cat"),
        ("cat/2.png", "cat"),
        ("dog/1.png", "dog"),
    ]
    assert listing.passed_over == {".txt": 1}
    everything = read_place(sorted(tmp_path.iterdir()))
    assert {s.label for s in everything.sources} == {"cat", "dog", "owl"}


def test_links_out_of_the_folder_are_followed_on_demand(tmp_path: Path) -> None:
    put(tmp_path / "blobs" / "a1b2")
    put(tmp_path / "outside" / "deep" / "y.png")
    (tmp_path / "outside" / "loop").symlink_to("../snapshot")
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "x.png").symlink_to("../blobs/a1b2")
    (folder / "more").symlink_to("../outside")
    (folder / "again").symlink_to("../outside")
    (folder / "t.csv").write_text("path\nx.png\n")
    with pytest.raises(UserError, match=r"3 symbolic links .*--follow-links"):
        find(folder)
    for place in (folder, folder / "t.csv"):
        found = reasons(read_place(place, follow_links=True).sources)
        assert found.pop("x.png") is None
        assert found in ({}, {"again/deep/y.png": None}, {"more/deep/y.png": None})


def test_a_broken_file_named_like_an_image_is_listed(tmp_path: Path) -> None:
    put(tmp_path / "good.png")
    (tmp_path / "bad.jpg").write_text("no image")
    (tmp_path / "phone.HEIC").write_text("no image")
    assert names(find(tmp_path)) == ["bad.jpg", "good.png", "phone.HEIC"]


def test_without_a_suffix_the_first_bytes_decide(tmp_path: Path) -> None:
    put(tmp_path / "0f3a")
    (tmp_path / "README").write_text("BMW and other cars")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    assert names(find(tmp_path)) == ["0f3a"]


def test_a_relative_root_gives_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "in" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert find("in")[0].path == str(tmp_path / "in" / "a.png")


@pytest.mark.parametrize("name", ["missing", "missing.csv", "empty", "file.png"])
def test_nothing_to_find_is_one_sentence_for_the_user(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    put(tmp_path / "file.png")
    with pytest.raises(UserError, match=name) as error:
        find(tmp_path / name)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_a_link_out_of_the_folder_is_listed_and_not_followed(tmp_path: Path) -> None:
    put(tmp_path / "outside" / "x.png")
    put(tmp_path / "root" / "good.png")
    (tmp_path / "root" / "file.png").symlink_to("../outside/x.png")
    (tmp_path / "root" / "folder").symlink_to("../outside")
    (tmp_path / "root" / "notes.txt").symlink_to("../outside/x.png")
    (tmp_path / "root" / "gone.png").symlink_to("nowhere.png")
    out = "symbolic link out of the folder, not followed"
    assert reasons(find(tmp_path / "root")) == {
        "file.png": out,
        "folder": out,
        "gone.png": "symbolic link to nothing",
        "good.png": None,
    }


def test_a_sibling_with_the_same_beginning_is_outside(tmp_path: Path) -> None:
    put(tmp_path / "root-2" / "x.png")
    put(tmp_path / "root" / "good.png")
    (tmp_path / "root" / "x.png").symlink_to("../root-2/x.png")
    assert reasons(find(tmp_path / "root"))["x.png"] is not None


def test_links_inside_the_folder_are_followed_without_loops(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.png")
    put(tmp_path / ".store" / "y.png")
    (tmp_path / "a" / "loop").symlink_to("..")
    (tmp_path / "a" / "self.png").symlink_to("self.png")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "stored").symlink_to(".store")
    (tmp_path / "z.png").symlink_to("a/x.png")
    found = reasons(find(tmp_path))
    assert found.pop("a/self.png") == found.pop("b/self.png") == "symbolic link to nothing"
    assert found == dict.fromkeys(["a/x.png", "b/x.png", "stored/y.png", "z.png"])


def test_knotted_links_end(tmp_path: Path) -> None:
    folders = [f"f{i}" for i in range(12)]
    for folder in folders:
        put(tmp_path / folder / "x.png")
        for other in folders:
            (tmp_path / folder / f"to_{other}").symlink_to(f"../{other}")
    assert len(find(tmp_path)) <= 2 * len(folders)


def test_a_root_that_is_a_link_is_fine(tmp_path: Path) -> None:
    put(tmp_path / "real" / "a" / "x.png")
    (tmp_path / "link").symlink_to("real")
    assert [s.path for s in find(tmp_path / "link")] == [str(tmp_path / "link" / "a" / "x.png")]


def test_a_folder_named_like_an_image_is_listed_and_searched(tmp_path: Path) -> None:
    put(tmp_path / "x.jpg" / "inside.png")
    assert reasons(find(tmp_path)) == {"x.jpg": "a folder, not a file", "x.jpg/inside.png": None}


def test_an_unreadable_folder_does_not_stop_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "open" / "x.png")
    put(tmp_path / "closed" / "x.png")
    scandir = os.scandir

    def guarded(path: str):  # root may read anything, so that permissions cannot show it
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert reasons(find(tmp_path)) == {
        "closed": "folder cannot be read: permission denied",
        "open/x.png": None,
    }


def test_names_that_no_table_can_hold_are_listed_in_a_form_that_it_can(tmp_path: Path) -> None:
    put(tmp_path / "good.png")
    put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xe4d.png")))
    bad = find(tmp_path)[0]
    assert (bad.rel_path, bad.reason) == ("b\\xe4d.png", None)
    bad.path.encode()


def test_any_other_name_is_kept_as_it_is(tmp_path: Path) -> None:
    odd = ["a\nb.png", "ÄÖ猫🐈.png", "with space .png", "quote\"'.png", "%20.png"]
    for name in odd:
        put(tmp_path / name)
    assert names(find(tmp_path)) == sorted(odd)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["cat/1.png", "cat/2.png", "dog/3.png"], True),
        (["0/1.png", "1/2.png", "1/3.png"], True),
        (["train/cat/1.png", "train/dog/2.png", "test/cat/3.png"], True),
        (["train/car/1.png", "train/car/2.png", "Test/bus/3.png"], True),
        (["train/1.png", "train/2.png", "car/3.png"], True),  # a train is a vehicle, too
        (["train/1.png", "train/2.png", "test/3.png"], False),
        (["cat/1.png", "cat/2.png"], False),  # one folder
        (["cat/1.png", "dog/3.png"], False),  # one image each
        (["cat/1.png", "cat/2.png", "dog/3.png", "4.png"], False),  # one beside the folders
        (["cat/1.png", "cat/2.png", "dog/young/3.png"], False),  # one deeper
        (["2024-01-05/1.png", "2024-01-05/2.png", "2024-01-06/3.png"], False),
        (["20240105/1.png", "20240105/2.png", "20240106/3.png"], False),
        (["batch_001/1.png", "batch_001/2.png", "batch_002/3.png"], False),
        (["images/1.png", "images/2.png", "masks/1.png"], False),
        ([f"{k:08x}-0000-4000-8000-00000000000a/{i}.png" for k in (1, 2) for i in (1, 2)], False),
        (["cat/1.png", "cat/2.png", "dog/3.png", "2024/4.png"], True),  # a stray one
    ],
)
def test_folders_become_labels_when_they_look_like_classes(
    paths: list[str], expected: bool, tmp_path: Path
) -> None:
    for path in paths:
        put(tmp_path / path)
    labels = [source.label for source in find(tmp_path)]
    assert labels == [Path(path).parent.name if expected else None for path in sorted(paths)]


def test_labels_can_be_forced_and_forbidden(tmp_path: Path) -> None:
    for path in ("2024/1.png", "cat/small/2.png"):
        put(tmp_path / path)
    assert [source.label for source in find(tmp_path, labels=True)] == ["2024", "small"]
    put(tmp_path / "dog" / "1.png")
    put(tmp_path / "dog" / "2.png")
    assert {source.label for source in find(tmp_path, labels=False)} == {None}


def test_broken_links_and_folders_do_not_decide_about_labels(tmp_path: Path) -> None:
    for path in ("cat/1.png", "cat/2.png", "dog/3.png"):
        put(tmp_path / path)
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    assert [s.label for s in find(tmp_path) if not s.reason] == ["cat", "cat", "dog"]


CSV_ROWS = [("a.png", "cat"), ("sub/b.png", ""), ("gone.png", "dog"), ("a.png", "again"), ("", "x")]


def write_table(path: Path, columns: tuple[str, str] = ("path", "label")) -> Path:
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        values = list(zip(*CSV_ROWS, strict=True))
        table = pyarrow.table({columns[0]: values[0], columns[1]: values[1]})
        pyarrow.parquet.write_table(table, path)
    else:
        comma = "\t" if path.suffix == ".tsv" else ";" if "semicolon" in path.name else ","
        lines = [comma.join(row) for row in [columns, *CSV_ROWS]]
        path.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.TSV", "semicolon.csv", "t.parquet"])
def test_a_table_gives_its_rows_with_a_reason_for_what_is_missing(
    tmp_path: Path, name: str
) -> None:
    put(tmp_path / "a.png")
    put(tmp_path / "sub" / "b.png")
    path = tmp_path / name
    table = write_table(path.with_suffix(path.suffix.lower())).rename(path)
    assert find(table) == [
        Source(str(tmp_path / "a.png"), "a.png", "cat"),
        Source(str(tmp_path / "sub" / "b.png"), "sub/b.png"),
        Source(str(tmp_path / "gone.png"), "gone.png", "dog", reason="file not found"),
        Source("", "row 5", "x", reason="no path in the table"),
    ]


@pytest.mark.parametrize("column", ["filepath", "File", " image_path", "IMG"])
@pytest.mark.parametrize("label", ["class", "Category", "ground_truth"])
def test_columns_are_known_by_their_usual_names(tmp_path: Path, column: str, label: str) -> None:
    put(tmp_path / "a.png")
    first = find(write_table(tmp_path / "t.csv", (column, label)))[0]
    assert (first.rel_path, first.label) == ("a.png", "cat")
    assert find(tmp_path / "t.csv", labels=False)[0].label is None


def test_a_row_leaves_the_folder_of_the_table_by_an_absolute_path_alone(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside.png")
    other = put(tmp_path / "other.png")
    folder = tmp_path / "folder"
    put(folder / "a.png")
    put(folder / "sub" / "b.png")
    (folder / "out.png").symlink_to("../outside.png")
    (folder / "up").symlink_to("..")
    (folder / "in.png").symlink_to("a.png")
    rows = ["path", "../outside.png", str(other), "./x/../a.png", "up/outside.png", "out.png"]
    rows += ["in.png", "sub/../../folder/sub/b.png", "S3://b/a.png", "HTTP://a/b.png"]
    (folder / "t.csv").write_text("\n".join(rows) + "\n")
    link = "symbolic link out of the folder, not followed"
    assert reasons(find(folder / "t.csv")) == {
        outside.as_posix(): "relative path out of the table's folder, not read",
        other.as_posix(): None,
        "a.png": None,
        "up/outside.png": link,
        "out.png": link,
        "in.png": None,
        "sub/b.png": None,
        "s3://b/a.png": None,
        "http://a/b.png": "a URL of a kind that is not read",
    }


def test_a_link_out_of_the_folder_is_followed_where_a_row_names_it_whole(tmp_path: Path) -> None:
    put(tmp_path / "outside.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "out.png").symlink_to("../outside.png")
    (tmp_path / "folder" / "t.csv").write_text(f"path\n{tmp_path / 'folder' / 'out.png'}\n")
    assert reasons(find(tmp_path / "folder" / "t.csv")) == {"out.png": None}


def test_a_table_in_a_folder_behind_a_link_names_the_files_beside_it(tmp_path: Path) -> None:
    put(tmp_path / "real" / "a.png")
    (tmp_path / "real" / "t.csv").write_text("path\na.png\n")
    (tmp_path / "link").symlink_to("real")
    assert reasons(find(tmp_path / "link" / "t.csv")) == {"a.png": None}


def test_a_table_row_with_quotes_commas_and_newlines_is_read(tmp_path: Path) -> None:
    put(tmp_path / "a, b\nc.png")
    (tmp_path / "t.csv").write_text('path,label\n\n"a, b\nc.png",cat\n"x\0.png"\n')
    assert reasons(find(tmp_path / "t.csv")) == {"a, b\nc.png": None, "x\0.png": "file not found"}


def test_a_table_that_cannot_be_used_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,url_of\n1,2\n")
    with pytest.raises(UserError, match=r"its columns: id, url_of.*path, filepath"):
        find(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_text("path\na.png\n")
    with pytest.raises(UserError, match="no column of labels"):
        find(tmp_path / "t.csv", labels=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("header.csv", b"path,label\n"),
        ("empty.csv", b""),
        ("neither.csv", b"path\n\xe4\x81.png\n"),
        ("open.csv", b'path,label\na.png,"cat\n'),
        ("wide.csv", b"path,label\na, b.png,cat\n"),
        ("one.jsonl", b'{"path": "a.png"}\n{"path": \n'),
        ("list.json", b'["a.png"]'),
        ("broken.parquet", b"PAR1 not really"),
        ("empty.parquet", b""),
    ],
)
def test_a_broken_table_is_one_sentence(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name) as error:
        find(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"MM\0*", "TIFF"),
        (b"BMW and other cars, and more text", None),
        (b"<?xml version='1.0'?>\n<svg>", "SVG"),
        (b"\n<!DOCTYPE HTML>", "HTML"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
        (b"", None),
    ],
)
def test_a_kind_is_known_by_its_first_bytes(head: bytes, kind: str | None) -> None:
    assert sniff(head) == kind
