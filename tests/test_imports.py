import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PACKAGE = Path(__file__).parents[1] / "mincurate"


@pytest.mark.parametrize("module", ["mincurate", "mincurate.cli"])
def test_nothing_heavy_is_imported_before_it_is_used(module):
    code = (
        f"import sys, {module}; "
        "print([m for m in ('torch', 'diffusers', 'umap', 'fiftyone', 'pandas', 'sklearn', "
        "'matplotlib', 'scipy', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scoring_does_not_import_diffusers_before_there_is_a_model():
    code = "import sys, mincurate.pipelines.score; print('diffusers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("command", [["runs", "list"], ["runs", "show", "1"], ["report"]])
def test_looking_at_runs_does_not_import_what_computes(command, home):
    (home / "runs" / "mincurate_1").mkdir(parents=True)
    record = '{"key": "mincurate_1", "created": "2026-11-24T01:59:28Z", "settings": {}}'
    (home / "runs" / "mincurate_1" / "run.json").write_text(record)
    columns = "path rel_path content_hash label duplicate_of status reason width height"
    columns += " minority_score minority_score_se rarity neighbor_distance complexity map_x map_y"
    columns += " rarity_class minority_score_calibrated"
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
