"""Files, weights and names of strangers: a row with a status each; nothing runs, nothing leaks."""

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import TINY
from PIL import Image

from mincurate.errors import UserError
from mincurate.images import decode_pool, file_kinds, sources
from mincurate.images.decode import Identity
from mincurate.images.decode_pool import decode_many, identify_many
from mincurate.images.sources import Source
from mincurate.runs import store

pytestmark = [pytest.mark.faults, pytest.mark.slow]
PILLOW = "12.3.0"
CACHE = Path.home() / ".cache" / "mincurate-tests"
MUTANTS = int(os.environ.get("MINCURATE_MUTANTS", "3000"))


@pytest.fixture(scope="session")
def pillow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image files of Pillow's own tests, out of its source package on the index."""
    archive = CACHE / f"pillow-{PILLOW}.tar.gz"
    if not archive.is_file():
        call = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        call += ["--no-build-isolation", "-d", str(CACHE), f"pillow=={PILLOW}"]
        try:
            subprocess.run(call, capture_output=True, timeout=300, check=True)
        except (OSError, subprocess.SubprocessError):
            pytest.skip("Pillow's source package cannot be had here")
    folder = tmp_path_factory.mktemp("pillow")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return next(folder.glob("*/Tests/images"))


def looked_at(files: list[Path]) -> list[Identity]:
    """What is known of each file; that decoding agrees with it is seen on the way."""
    listed = [Source(str(path), path.name) for path in files]
    identities = list(identify_many(listed, size=None, workers=2))
    assert len(identities) == len(files)
    batches = decode_many([s.path for s in listed], size=16, workers=2, batch_size=64)
    for identity, pixels in zip(identities, (p for b in batches for p in b), strict=True):
        assert (identity.reason is None) == isinstance(pixels, np.ndarray), (identity, pixels)
        assert (identity.content_hash is None) == (identity.reason is not None)
    return identities


def test_every_image_file_of_pillows_own_tests_has_a_status(pillow):
    files = sorted(p for p in pillow.rglob("*") if p.is_file())
    assert len(files) > 700
    identities = looked_at(files)
    fine = sum(identity.reason is None for identity in identities)
    reasons = pd.Series([identity.reason for identity in identities]).value_counts()
    print(f"{len(files)} files: {fine} images, {len(files) - fine} with a reason")
    print(reasons.to_string())
    assert 200 < fine < len(files)
    assert all(reasons.index.str.len() > 5)


def test_a_folder_of_them_is_a_table_with_a_row_each(pillow):
    """What is named like an image is listed, by the same rule as any folder."""
    listed = sources.find(pillow)
    named = [p for p in pillow.rglob("*") if p.suffix.casefold() in file_kinds.IMAGE_SUFFIXES]
    assert {s.path for s in listed} >= {str(p) for p in named if "/." not in str(p)}
    assert len({s.rel_path for s in listed}) == len(listed)


@pytest.mark.long
def test_scoring_the_folder_of_them_gives_a_row_each_with_a_status(tiny, say, pillow):
    listed = sources.find(pillow)
    code, output = say("score", pillow, "--image-size", 16, *TINY)
    assert code == 0, output
    table = store.find().frame()
    assert sorted(table["rel_path"]) == sorted(s.rel_path for s in listed)
    fine = table["status"] == "ok"
    assert fine.sum() > 200 and np.isfinite(table.loc[fine, "minority_score"]).all()
    assert set(table.loc[~fine, "status"]) == {"unscorable"}
    assert (table.loc[~fine, "reason"].str.len() > 5).all()
    assert say("verify")[0] == 0


def originals() -> list[bytes]:
    """Good files of every format that is read, each different."""
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(24), np.arange(30)) * 4
    files = []
    for kind, options in (
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        *(("TIFF", {"compression": c}) for c in ("tiff_lzw", "tiff_adobe_deflate", "packbits")),
    ):
        noise = rng.integers(0, 40, (24, 30, 3))
        img = Image.fromarray((smooth[..., None] + noise).clip(0, 255).astype(np.uint8))
        buffer = io.BytesIO()
        img.save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return files


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The same with flipped bits, a changed header, or less, or twice of it."""
    data = bytearray(content)
    kind = rng.integers(6)
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    if kind == 1:  # numbers of the header become extreme
        at = int(rng.integers(min(64, len(data) - 4)))
        data[at : at + 4] = [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"][rng.integers(3)]
    elif kind == 2:
        start, end = sorted(rng.integers(0, len(data), 2).tolist())
        del data[start:end]
    elif kind == 3:
        start, end = sorted(rng.integers(0, len(data), 2).tolist())
        data[start:start] = data[start:end]
    else:
        for _ in range(int(rng.integers(1, 30))):
            data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return bytes(data)


def test_mutated_copies_by_the_thousand_have_a_status_each(tmp_path):
    rng, good = np.random.default_rng(7), originals()
    files = []
    for i in range(MUTANTS):
        files.append(tmp_path / f"{i:05d}.img")
        files[-1].write_bytes(mutated(good[i % len(good)], rng))
    identities = looked_at(files)
    fine = sum(identity.reason is None for identity in identities)
    print(f"{MUTANTS} mutants: {fine} images, {MUTANTS - fine} with a reason")
    assert 0 < fine < MUTANTS


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return (os.system, (f"touch {self.place}",))


@pytest.mark.parametrize("name", ["weights.pt", "weights.bin", "weights.safetensors"])
def test_weights_that_would_run_code_are_refused(tmp_path, name):
    from mincurate.features import backbone

    file, proof = tmp_path / name, tmp_path / "proof"
    file.write_bytes(pickle.dumps({"features.0.weight": Trap(proof)}))
    with pytest.raises(UserError):
        backbone.read_weights(file)
    assert not proof.exists()


@pytest.mark.parametrize("place", ["checkpoint.pt", "unet/diffusion_pytorch_model.bin"])
def test_a_trap_in_a_folder_of_a_model_does_not_spring(tiny, pictures, say, tmp_path, place):
    model, proof = tmp_path / "model", tmp_path / "proof"
    assert say("train", pictures, "--output", model, "--train-steps", 2)[0] == 0
    (model / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (model / place).write_bytes(pickle.dumps({"unet": Trap(proof)}))
    code, _ = say("score", pictures, "--model", model, *TINY[2:])
    assert code == 1
    code, _ = say("train", pictures, "--output", model, "--train-steps", 2)
    assert not proof.exists()


def test_a_table_of_traps_reads_and_writes_nothing_outside(tiny, say, pictures, tmp_path, home):
    """An image outside is read where a row names it by its absolute path, and else is not."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    rng = np.random.default_rng(4)
    for name in ("climbed", "linked", "asked"):
        noise = rng.integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(noise).save(outside / f"{name}.png")
    (pictures / "link.png").symlink_to(outside / "linked.png")
    (pictures / "up").symlink_to(outside)
    rows = [str(p) for p in sorted(pictures.rglob("*.png")) if not p.is_symlink()]
    kept_out = {"link.png": "link", "up/linked.png": "link", "../outside/climbed.png": "relative"}
    rows += [*kept_out, str(outside / "asked.png")]
    rows += ["../outside/secret.txt", str(outside / "secret.txt"), "/etc/passwd"]
    rows += ["file:///etc/passwd", "http://127.0.0.1:9/x.png", "| touch proof", "$(touch proof)"]
    # Two of them name a file that an earlier row names already.
    rows += ["\0", "con\nfig", "/dev/zero", "/proc/self/mem", "-rf"]
    frame = pd.DataFrame({"path": rows, "label": ["../../up"] * len(rows)})
    frame.to_parquet(pictures / "table.parquet")
    before = {p: p.stat().st_mtime_ns for p in [*tmp_path.rglob("*"), tmp_path] if p.exists()}
    assert say("score", pictures / "table.parquet", *TINY)[0] == 0
    run = store.find()
    table = run.frame()
    assert len(table) == len(rows) - 2 and (table["status"] == "ok").sum() == 21
    reason = table.set_index("path")["reason"]
    assert pd.isna(reason[str(outside / "asked.png")])
    for name, why in kept_out.items():
        assert why in reason[os.path.normpath(pictures / name)]
    assert "secret" not in (run.path / "report.html").read_text().replace("secret.txt", "")
    assert say("export", tmp_path / "exported", "--copy")[0] == 0
    exported = tmp_path / "exported"
    written = [p for p in tmp_path.rglob("*") if p not in before]
    assert all(p == exported or p.is_relative_to(exported) for p in written)
    record = json.loads((exported / "export.json").read_text())
    assert record["finished"]
    after = {p: p.stat().st_mtime_ns for p in before if p != tmp_path}
    assert after == {p: t for p, t in before.items() if p != tmp_path}


def test_links_out_of_a_folder_are_rows_and_not_read(tiny, say, pictures, tmp_path):
    (tmp_path / "private").mkdir()
    first = next(pictures.rglob("*.png"))
    (tmp_path / "private" / "mine.png").write_bytes(first.read_bytes() + b"different")
    (pictures / "disc" / "to-file.png").symlink_to(tmp_path / "private" / "mine.png")
    (pictures / "to-folder").symlink_to(tmp_path / "private")
    (pictures / "disc" / "up").symlink_to(pictures.parent)
    assert say("score", pictures, *TINY)[0] == 0
    table = store.find().frame().set_index("rel_path")
    assert (table["status"] == "ok").sum() == 20
    for name in ("disc/to-file.png", "to-folder", "disc/up"):
        assert "out of the folder" in table.loc[name, "reason"]
    assert say("retry", "--no-fiftyone")[1].startswith("0 of 0")


def test_a_script_in_a_name_stays_a_name(tiny, say, pictures, monkeypatch):
    from bs4 import BeautifulSoup

    names = [
        "<script>alert(1)<",
        '"><img src=x onerror=alert(1)>',
        "';touch proof;'",
        "$(touch proof)",
        "{{7*7}}{% raw %}",
        "[red]bold[",
        "=cmd|' !A0",
    ]
    folder = pictures / '<svg onload="alert(1)">'
    folder.mkdir()
    rng = np.random.default_rng(3)
    for name in names:
        noise = rng.integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{name}.png")
    (folder / "<b>broken.png").write_text("<script>alert(2)</script>")
    monkeypatch.chdir(pictures)
    assert say("score", pictures, "--labels", *TINY)[0] == 0
    run = store.find()
    page = BeautifulSoup((run.path / "report.html").read_text(), "html.parser")
    assert not [t for t in page.find_all(True) if any(a.startswith("on") for a in t.attrs)]
    assert all("alert" not in script.text for script in page.find_all("script"))
    assert "49" not in " ".join(t for t in page.stripped_strings if "7*7" in t)
    assert not list(pictures.rglob("proof"))
    assert say("verify")[0] == 0


def test_code_in_the_folder_one_stands_in_is_not_imported(tmp_path, pictures):
    """A set of images may come with a numpy.py."""
    proof = tmp_path / "proof"
    trap = f"open({str(proof)!r}, 'w')\nraise SystemExit\n"
    for name in ("numpy", "PIL", "torch", "pickle", "mincurate"):
        (pictures / f"{name}.py").write_text(trap)
    call = [str(Path(sys.executable).parent / "mincurate"), "score", str(pictures), "--no-umap"]
    call += ["--no-fiftyone", "--train-steps", "2", "--n-draws", "1"]
    done = subprocess.run(call, cwd=pictures, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not proof.exists()


def slow_picture(path: Path) -> Path:
    """A file of half a megabyte that holds as many pixels as are allowed."""
    Image.new("L", (13_300, 13_300)).save(path, compress_level=1)
    return path


def test_a_file_that_takes_too_long_has_a_reason_and_the_others_go_on(tmp_path, monkeypatch):
    decode_pool._end_all()
    monkeypatch.setenv("MINCURATE_DECODE_SECONDS", "0.4")
    monkeypatch.setattr(decode_pool, "SECONDS", 0.4)
    paths = []
    for i in range(6):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (8, 8), (i, i, i)).save(paths[-1])
    paths.insert(3, slow_picture(tmp_path / "slow.png"))
    identities = looked_at(paths)
    assert [f.reason is None for f in identities] == [True] * 3 + [False] + [True] * 3
    assert identities[3].reason == "decoding it takes longer than 0.4 seconds"


@pytest.mark.parametrize(
    ("signal_", "reason"), [("STOP", "takes longer"), ("SEGV", "crashes the decoder")]
)
def test_a_process_that_hangs_or_crashes_is_replaced(tmp_path, monkeypatch, signal_, reason):
    import signal as signals

    decode_pool._end_all()
    monkeypatch.setattr(decode_pool, "SECONDS", 1)
    monkeypatch.setattr(decode_pool, "GRACE", 1)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    fine = Source(str(tmp_path / "a.png"), "a.png")
    assert next(identify_many([fine], size=8, workers=1)).reason is None
    [worker] = decode_pool._IDLE
    os.kill(worker.process.pid, signals.SIGSTOP)
    if signal_ == "SEGV":  # a stopped process dies of it while it is asked
        os.kill(worker.process.pid, signals.SIGSEGV)
        monkeypatch.setattr(decode_pool, "_take", lambda: worker)
        os.kill(worker.process.pid, signals.SIGCONT)
    identity = next(identify_many([fine], size=8, workers=1))
    assert reason in identity.reason
    monkeypatch.undo()
    assert next(identify_many([fine], size=8, workers=1)).reason is None


def test_memory_of_a_decoder_is_limited(tmp_path):
    """An image that takes more than the limit is a reason, and the machine does not notice."""
    code = (
        "import sys; from mincurate.images import decode_pool; decode_pool.MEMORY = 400 * 2**20\n"
        "decode_pool.limit_memory()\n"
        "from mincurate.images.decode import decode, UnreadableImage\n"
        "try:\n    decode(sys.argv[1], size=16)\n"
        "except UnreadableImage as e:\n    print(e.reason)"
    )
    path = slow_picture(tmp_path / "big.png")
    rgb = tmp_path / "rgb.png"
    Image.open(path).convert("RGB").save(rgb, compress_level=1)
    call = [sys.executable, "-c", code, str(rgb)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "not enough memory to decode it"
