import ast
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PACKAGE = Path(__file__).parents[1] / "mincurate"

# A module may import only what stands in an earlier row.
LAYERS = [
    {"errors", "progress", "ordinal", "visible", "appearance", "trust", "channels_last"},
    {"engine", "objects", "quantiles"},
    {"sources"},
    {"images"},
    {"decoding"},
    {"denoiser", "runs", "metrics", "rebalance", "downstream"},
    {"device"},
    {"quality", "export", "seals", "manifest", "distributed", "judging"},
    {"backbone", "curated", "verdict", "budget"},
    {"perceptual", "trainer"},
    {"training", "embedding", "classifier"},
    {"classifier_training", "guidance"},
    {"scoring", "sampling"},
    {"collection"},
    {"crowd", "longtail"},
    {"kinds"},
    {"results", "models", "generation"},
    {"joining", "shards"},
    {"targets", "trial"},
    {"diagnostics", "figures", "meanings", "rerun", "database", "comparison", "estimates"},
    {"plugins", "worker", "verify"},
    {"hovermap", "sheets", "presentation", "evaluation_figures", "evaluation_page", "marks"},
    {"report", "review"},
    {"dataset", "differences"},
    {"app", "audit", "removal", "synthetic", "arrivals"},
    {"workshop"},
    {"augmentation", "newcomers", "deletion", "shown"},
    {"baseline", "balancing", "sync"},
    {"evaluation"},
    {"cli"},
]


FIFTYONE_MODULES = (
    "database.py",
    "dataset.py",
    "removal.py",
    "app.py",
    "presentation.py",
    "marks.py",
    "synthetic.py",
    "deletion.py",
    "plugins.py",
    "shown.py",
    "worker.py",
)
"""They alone handle FiftyOne's objects; the next ones call them."""
CALL_THEM = (
    *("arrivals.py", "audit.py", "collection.py", "doctor.py", "newcomers.py", "runs.py"),
    *("sync.py", "view.py"),
)


def imports_of(module: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "mincurate":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mincurate."):
            found.add(str(node.module).split(".")[1])
    return found


def test_imports_point_one_way():
    rank = {name: i for i, layer in enumerate(LAYERS) for name in layer}
    for module in PACKAGE.glob("*.py"):
        if module.stem in ("__init__", "__main__"):
            continue
        for imported in imports_of(module):
            # `collection` reads FiftyOne sources through `dataset`, inside the function that does.
            if (module.stem, imported) == ("collection", "dataset"):
                continue
            assert rank[imported] < rank[module.stem], f"{module.stem} imports {imported}"


def test_only_the_storing_modules_know_fiftyone():
    for module in PACKAGE.rglob("*.py"):
        names = {
            alias.name.split(".")[0]
            for node in ast.walk(ast.parse(module.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        } | {
            (node.module or "").split(".")[0]
            for node in ast.walk(ast.parse(module.read_text()))
            if isinstance(node, ast.ImportFrom)
        }
        if "fiftyone" in names or 'import_module("fiftyone")' in module.read_text():
            assert module.name in ("database.py", "dataset.py")
        if imports_of(module) & {"database", "dataset", "removal", "app", "presentation"}:
            assert module.name in FIFTYONE_MODULES or module.name in CALL_THEM, module.name


@pytest.mark.parametrize("module", ["mincurate", "mincurate.cli"])
def test_nothing_heavy_is_imported_before_it_is_used(module):
    code = (
        f"import sys, {module}; "
        "print([m for m in ('torch', 'diffusers', 'umap', 'fiftyone', 'pandas', 'sklearn', "
        "'matplotlib', 'scipy', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [["runs", "list"], ["runs", "show", "1"], ["report"]])
def test_looking_at_runs_does_not_import_what_computes(command, home):
    (home / "runs" / "mincurate_1").mkdir(parents=True)
    record = '{"key": "mincurate_1", "created": "2026-11-24T01:59:28Z", "settings": {}}'
    (home / "runs" / "mincurate_1" / "run.json").write_text(record)
    columns = "path rel_path content_hash label duplicate_of status reason width height"
    columns += " minority_score minority_score_se rarity neighbor_distance complexity map_x map_y"
    columns += " minority_class minority_score_calibrated"
    table = dict.fromkeys(columns.split(), pa.nulls(1))
    table |= {"status": pa.array(["unscorable"]), "rel_path": pa.array(["a.png"])}
    pq.write_table(pa.table(table), home / "runs" / "mincurate_1" / "scores.parquet")
    code = (
        "import sys\nfrom mincurate.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "heavy = ('torch', 'diffusers', 'umap', 'fiftyone', 'sklearn', 'numba', 'scipy')\n"
        "print(*(m for m in heavy if m in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_the_repository_does_not_shadow_fiftyones_plugins_package():
    assert not (PACKAGE.parent / "plugins" / "__init__.py").exists()


def test_python_m_mincurate_is_the_command():
    call = [sys.executable, "-m", "mincurate", "--help"]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert "Usage: mincurate" in done.stdout
