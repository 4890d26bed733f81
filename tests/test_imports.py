import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mincurate"

# A module may import only what stands in an earlier row.
LAYERS = [
    {"errors", "progress", "ordinal"},
    {"sources"},
    {"images"},
    {"denoiser", "device", "runs"},
    {"backbone"},
    {"perceptual"},
    {"training", "embedding"},
    {"scoring"},
    {"collection"},
    {"results", "models"},
    {"diagnostics", "figures"},
    {"report", "presentation"},
    {"dataset"},
    {"app", "audit"},
    {"cli"},
]


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
        if module.stem == "__init__":
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
        if "fiftyone" in names:
            assert module.name in ("dataset.py", "app.py", "presentation.py")


@pytest.mark.parametrize("module", ["mincurate", "mincurate.cli"])
def test_nothing_heavy_is_imported_before_it_is_used(module):
    code = (
        f"import sys, {module}; "
        "print([m for m in ('torch', 'diffusers', 'umap', 'fiftyone', 'pandas', 'sklearn', "
        "'matplotlib', 'scipy', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_repository_does_not_shadow_fiftyones_plugins_package():
    assert not (PACKAGE.parent / "plugins" / "__init__.py").exists()
