"""Tables of images, as others write them."""

import csv
import io
import json
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mincurate.errors import UserError
from mincurate.images import tables
from mincurate.images.labels import MISSING_IN_TABLES, clean
from mincurate.images.sources import Listing, column, find, read_place


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), "red").save(path, "PNG")
    return path


def labels(place: Path, **options: object) -> list[str | None]:
    return [source.label for source in read_place(place, **options).sources]


def table(folder: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    """A table beside three images."""
    for image in ("a.png", "b.png", "c.png"):
        put(folder / image)
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def said(listing: Listing) -> str:
    return "\n".join(listing.lines)


@pytest.mark.parametrize(
    "heading",
    ["path", "file_name", "img_path", "Image Path", "filenames", "uri", "imagePath", "FILE-NAME",
     "image_filename", "Images", "url", "relative path", "\ufefffile"],
)  # fmt: skip
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_the_path_column_is_known_by_its_usual_names(tmp_path, heading, name):
    text = f"id,{heading},label\n1,a.png,cat\n2,b.png,dog\n"
    if name == "t.jsonl":
        rows = [{"id": 1, heading: "a.png", "label": "cat"}, {heading: "b.png", "label": "dog"}]
        text = "\n".join(map(json.dumps, rows))
    listing = read_place(table(tmp_path, text, name))
    assert [(s.rel_path, s.label) for s in listing.sources] == [("a.png", "cat"), ("b.png", "dog")]


@pytest.mark.parametrize(
    "heading",
    ["label", "labels", "class", "Category", "target", "y", "ground_truth", "class_name", "Classes",
     "labelName", "category_id"],
)  # fmt: skip
def test_the_label_column_is_known_by_its_usual_names(tmp_path, heading):
    listing = read_place(table(tmp_path, f"path,{heading}\na.png,cat\nb.png,dog\nc.png,\n"))
    assert [s.label for s in listing.sources] == ["cat", "dog", None]
    assert f"2 (cat, dog) from the column {heading!r}; 1 of 3 images have none" in said(listing)
    assert "paths from the column 'path'" in said(listing)


def test_columns_are_named_by_options(tmp_path):
    place = table(tmp_path, "where,path,kind,label\na.png,x,cat,1\nb.png,y,dog,2\n")
    listing = read_place(place, path_column="where", label_column="Kind")
    assert [(s.rel_path, s.label) for s in listing.sources] == [("a.png", "cat"), ("b.png", "dog")]
    with pytest.raises(UserError, match=r"no column 'shape'; it has: where, path, kind, label"):
        read_place(place, label_column="shape")
    with pytest.raises(UserError, match=r"--label-column .* --no-labels"):
        read_place(place, False, label_column="kind")
    with pytest.raises(UserError, match="--path-column names a column of a table"):
        read_place(tmp_path, path_column="where")


def test_a_table_without_labels_says_so(tmp_path):
    assert "Labels: none, because no column has a usual name" in said(
        read_place(table(tmp_path, "path,x,y\na.png,1,2\n"))  # coordinates
    )
    empty = read_place(table(tmp_path, "path,label\na.png,\nb.png,NaN\n"))
    assert "Labels: none, because the column 'label' is empty" in said(empty)
    assert "--no-labels" in said(read_place(table(tmp_path, "path,label\na.png,x\n"), False))


def test_labels_that_read_like_a_missing_value_are_counted(tmp_path):
    place = table(tmp_path, "path,country\na.png,NA\nb.png,NA\nc.png,ZA\nd.png,\n")
    listing = read_place(place, label_column="country")
    assert "2 labels of t.csv that read NA count as missing." in said(listing)


@pytest.mark.parametrize(
    "text",
    [
        "path,label\na.png,Vögel\n",
        "path;label\na.png;Vögel\n",
        "path\tlabel\na.png\tVögel\n",
        "path|label\na.png|Vögel\n",
        'path;label;"x, y, w, h"\na.png;Vögel;1\n',
        '"a, b, c, d, e";path;label\n1;a.png;Vögel\n',
        "sep=;\npath;label\na.png;Vögel\n",
        "sep=;\r\npath;label\r\na.png;Vögel\r\n",
        '"sep=,"\npath,label\na.png,Vögel\n',
        "SEP=|;;\npath|label\na.png|Vögel\n",
        "\n\npath,label\n\na.png,Vögel\n\n",
        ";;;\n;;;\npath;label;;\na.png;Vögel;;\n",
        "path , label \n a.png , Vögel \n",
        '"path","label"\n"a.png","Vögel"\n',
        "path,label\na.png,Vögel,\n",
        "path,label\ra.png,Vögel\r",
        "path,label,notes\na.png,Vögel," + "x" * 300_000 + "\n",
        'label,path,notes\nVögel,a.png,"one\ntwo, three ""four"""\n',
        "./path,path,label\nx,./a.png,Vögel\n",
        "path,label\n .\\a.png,Vögel",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le"])
def test_any_dialect_and_encoding_gives_the_same_rows(tmp_path, text, encoding):
    [source] = read_place(table(tmp_path, text, encoding=encoding)).sources
    assert (source.rel_path, source.label, source.reason) == ("a.png", "Vögel", None)


def test_what_is_read_as_windows_text_is_said(tmp_path):
    listing = read_place(table(tmp_path, "path,label\na.png,Vögel\n", encoding="cp1252"))
    assert "read as Windows-1252 (as in 'Vögel')" in said(listing)
    assert "Windows" not in said(read_place(table(tmp_path, "path,label\na.png,Vögel\n")))


TEXTS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20
).map(lambda text: unicodedata.normalize("NFC", text).strip())
LABELS = TEXTS.filter(lambda text: text and clean(text, MISSING_IN_TABLES) == text)
ODD = st.sampled_from(["a, b", 'say "x"', "a;b|c\td", "one\ntwo", "'", "\\", "#1", "=1+1", "sep=;"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", list(tables.SEPARATORS))
@settings(max_examples=25)
@given(st.lists(LABELS | ODD, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_any_label_survives_the_way_through_a_csv_file(
    tmp_path_factory, encoding, separator, texts, end
):
    text = io.StringIO()
    writer = csv.writer(text, delimiter=separator, lineterminator=end)
    writer.writerows([("path", "label"), *((f"{i}.png", name) for i, name in enumerate(texts))])
    place = tmp_path_factory.getbasetemp() / f"labels-{encoding}-{ord(separator)}.csv"
    place.write_bytes(text.getvalue().encode(encoding))
    assert labels(place) == texts


@settings(max_examples=50)
@given(st.text(st.characters(codec="cp1252", exclude_categories=["Cc", "Zs"]), min_size=1))
def test_any_label_of_windows_survives_the_way_through_its_encoding(tmp_path_factory, name):
    place = tmp_path_factory.getbasetemp() / "labels-cp1252.csv"
    text = io.StringIO()
    csv.writer(text).writerows([("path", "label"), ("0.png", f"é {name}")])
    place.write_bytes(text.getvalue().encode("cp1252"))
    assert labels(place) == [clean(f"é {name}")]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["cat", "NaN", "None"], ["cat", None, None]),
        (["cat", "", "null"], ["cat", None, None]),
        (["cat", "NA", "N/A"], ["cat", None, None]),
        (["cat", "cat ", " cat"], ["cat", "cat", "cat"]),
        (["1", "1.0", "2"], ["1", "1", "2"]),
        (["1.5", "01", "-2.0"], ["1.5", "01", "-2"]),
        (["none", "nano", "Nan"], ["none", "nano", "Nan"]),
        (["café", "cafe\u0301", "x"], ["café", "café", "x"]),
        ([1.0, float("nan"), 2.0], ["1", None, "2"]),
        ([1, None, 2], ["1", None, "2"]),
        ([True, False, None], ["True", "False", None]),
        ([["cat"], [], ["dog", "dog"]], ["cat", None, "dog"]),
        ([{"label": "cat"}, {"label": None}, {"label": "nan"}], ["cat", None, None]),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_missing_and_equal_labels_are_what_they_mean(tmp_path, values, expected, suffix):
    place, paths = table(tmp_path, "", f"t{suffix}"), ["a.png", "b.png", "c.png"]
    if suffix == ".parquet":
        pq.write_table(pa.table({"path": paths, "label": pa.array(values)}), place)
    elif suffix == ".jsonl":
        rows = zip(paths, values, strict=True)
        place.write_text("\n".join(json.dumps({"path": p, "label": v}) for p, v in rows))
    elif isinstance(values[0], str):
        rows = zip(paths, values, strict=True)
        place.write_text("path,label\n" + "".join(f"{p},{v}\n" for p, v in rows))
    else:
        return
    assert labels(place) == expected


def test_an_image_with_two_labels_is_said(tmp_path):
    text = "path,label\na.png,cat\nb.png,dog\n./a.png,owl\nb.png,dog \na.png,\n"
    listing = read_place(table(tmp_path, text))
    assert [s.label for s in listing.sources] == ["cat", "dog"]
    assert "1 images have rows with different labels" in said(listing)
    assert "(a.png: cat, owl)" in said(listing)
    rows = [{"path": "a.png", "label": ["cat", "owl"]}, {"path": "b.png", "label": ["dog"]}]
    several = read_place(table(tmp_path, json.dumps(rows), "t.json"))
    assert [s.label for s in several.sources] == ["cat", "dog"]
    assert "1 rows of t.json name several labels, of which the first counts: cat, owl" in said(
        several
    )


@pytest.mark.parametrize(
    "cell",
    ["img\\a.png", ".\\img\\a.png", " img/a.png ", "img//a.png", "img/../img/a.png", "IMG URL"],
)
def test_a_path_is_found_however_it_is_spelled(tmp_path, cell):
    put(tmp_path / "img" / "a.png")
    cell = (tmp_path / "img" / "a.png").as_uri() if cell == "IMG URL" else cell
    (tmp_path / "t.jsonl").write_text(json.dumps({"path": cell}))
    (tmp_path / "t.csv").write_text(f'path\n"{cell}"\n')
    for name in ("t.jsonl", "t.csv"):
        assert [(s.rel_path, s.reason) for s in find(tmp_path / name)] == [("img/a.png", None)]


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_accents_are_the_same_in_either_form(tmp_path, forms, absolute):
    on_disk = Path(
        unicodedata.normalize(forms[0], "vögel"), unicodedata.normalize(forms[1], "é.png")
    )
    put(tmp_path / on_disk)
    for form in ("NFC", "NFD"):
        cell = unicodedata.normalize(form, "vögel/é.png")
        cell = str(tmp_path / cell) if absolute else cell
        (tmp_path / "t.csv").write_text(f"path\n{cell}\n")
        [source] = find(tmp_path / "t.csv")
        assert (source.path, source.reason) == (str(tmp_path / on_disk), None)


def test_a_name_that_really_has_spaces_or_a_backslash_is_found_first(tmp_path):
    for name in ("a.png", "a.png ", "x\\a.png", "x/a.png"):
        put(tmp_path / name)
    (tmp_path / "t.csv").write_text('path\n"a.png "\nx\\a.png\n')
    assert [s.rel_path for s in find(tmp_path / "t.csv")] == ["a.png ", "x\\a.png"]


def test_a_row_without_a_path_says_so(tmp_path):
    text = "path,label\na.png,cat\n,dog\nNaN,owl\n"
    expected = [None, "no path in the table", "no path in the table"]
    assert [s.reason for s in find(table(tmp_path, text))] == expected
    columns = {"path": pa.array(["a.png", None, "nan"]), "label": [1, 2, 3]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    assert [s.reason for s in find(tmp_path / "t.parquet")] == expected


def test_a_file_that_is_not_there_is_named_with_its_line_and_the_place_looked_at(tmp_path):
    text = 'label,path\n"two\nlines",a.png\n\ncat,in/x.png\ncat,in/y.png\n'
    listing = read_place(table(tmp_path, text))
    assert (
        "2 files of t.csv are not there: line 5 names 'in/x.png', looked for at "
        f"{tmp_path}/in/x.png; relative paths start at the folder of the table."
    ) in said(listing)
    pq.write_table(pa.table({"path": ["x.png"]}), tmp_path / "t.parquet")
    assert "row 1 names 'x.png'" in said(read_place(tmp_path / "t.parquet"))


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("path,label\na.png,cat\nb, c.png,dog\n", "t.csv", "line 3 has 3 cells, and there are 2 h"),
        ("sep=,\n\npath,label\na.png,cat,,\n", "t.csv", "line 4 has 4 cells, and there are 2 h"),
        ('path,label\na.png,cat\nb.png,"dog\n', "t.csv", "quotation mark of line 3 is not closed"),
        ('{"path": "a.png"}\n\n{path}\n', "t.jsonl", "line 3 is no JSON"),
        ('{"path": "a.png"}\n[1]\n', "t.jsonl", "line 2 is no JSON object"),
        (
            '{\n"images": [],\n"annotations": []}',
            "t.json",
            r"one JSON object \(images, annotations",
        ),
        ("a.png\nb.png\n", "t.csv", r"its columns: a.png\): name it with --path-column"),
        ("path,path\na.png,b.png\n", "t.csv", "2 different columns called 'path'"),
        ('[{"path": 5}]', "t.json", "holds int values, not paths"),
    ],
)
def test_what_is_wrong_with_a_table_names_the_line_and_the_way_out(tmp_path, text, name, words):
    with pytest.raises(UserError, match=words) as error:
        find(table(tmp_path, text, name))
    assert "\n" not in str(error.value) and name in str(error.value)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_two_columns_of_one_name_are_one_if_they_are_the_same(tmp_path, suffix):
    place = table(tmp_path, "path,label,path\na.png,cat,a.png\n", f"t{suffix}")
    if suffix == ".parquet":
        arrays = [pa.array(["a.png"]), pa.array(["cat"]), pa.array(["a.png"])]
        pq.write_table(pa.table(arrays, names=["path", "label", "path"]), place)
    assert [(s.rel_path, s.label) for s in find(place)] == [("a.png", "cat")]
    if suffix == ".parquet":
        arrays = [pa.array(["a.png"]), pa.array(["cat"]), pa.array(["dog"])]
        pq.write_table(pa.table(arrays, names=["path", "label", "label"]), place)
        with pytest.raises(UserError, match="2 different columns called 'label'"):
            find(place)
        assert labels(place, labels=False) == [None]


def hub_table(place: Path, images: list[object], **columns: list[object]) -> Path:
    """A Parquet file as the Hugging Face hub keeps a data set."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    arrays = pa.table({"image": pa.array(images, kind), **columns})
    classes = {"_type": "ClassLabel", "names": ["cat", "dog"]}
    about = {"info": {"features": {"image": {"_type": "Image"}, "label": classes}}}
    pq.write_table(arrays.replace_schema_metadata({"huggingface": json.dumps(about)}), place)
    return place


def test_images_that_a_table_holds_are_read_with_the_names_of_their_classes(tmp_path, home):
    data = [put(tmp_path / f"{i}.png").read_bytes() + bytes([i]) for i in range(4)]
    images = [{"bytes": data[0], "path": "sub/x.png"}, {"bytes": data[1], "path": None}]
    images += [{"bytes": data[2], "path": "../../x.png"}, {"bytes": None, "path": "3.png"}, None]
    place = hub_table(tmp_path / "t.parquet", images, label=[0, 1, -1, 1, 0])
    found = find(place)
    assert [s.rel_path for s in found] == [
        "000001-x.png", "000002.png", "000003-x.png", "3.png", "row 5",
    ]  # fmt: skip
    assert [s.label for s in found] == ["cat", "dog", None, "dog", "cat"]
    assert [Path(s.path).read_bytes() for s in found[:3]] == data[:3]
    assert all(Path(s.path).is_relative_to(home / "tables") for s in found[:3])
    assert found[3].path == str(tmp_path / "3.png") and found[4].reason == "no path in the table"
    assert find(place) == found  # and nothing is written twice
    pq.write_table(pa.table({"image": data[:2], "label": [0, 1]}), tmp_path / "plain.parquet")
    assert labels(tmp_path / "plain.parquet") == ["0", "1"]


def test_images_of_a_table_that_cannot_be_written_are_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINCURATE_HOME", str(tmp_path / "file" / "home"))
    place = hub_table(tmp_path / "t.parquet", [{"bytes": b"x", "path": "x.png"}])
    with pytest.raises(UserError, match="set MINCURATE_HOME"):
        find(place)


def test_any_column_is_read_by_the_paths_of_its_rows(tmp_path):
    place = table(tmp_path, "where,split\na.png,train\nb.png,\na.png,test\n")
    assert column(place, "split", "where") == {str(tmp_path / "a.png"): "train"}
    with pytest.raises(UserError, match="no column 'fold'; it has: where, split"):
        column(place, "fold", "where")
