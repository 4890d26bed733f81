"""The plugin is where FiftyOne finds it, all of it, or says in a sentence why it cannot work."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from conftest import command

from mincurate import plugins
from mincurate.errors import UserError

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "plugins" / "mincurate"
MANIFEST = yaml.safe_load((SOURCE / "fiftyone.yml").read_text())
DISCOVER = """
import json, sys
import fiftyone as fo, fiftyone.operators as foo
from fiftyone.operators.registry import OperatorRegistry
registry = OperatorRegistry()
ours = [op for op in registry.list_operators() if op.uri.startswith("@mincurate/")]
said = {}
for op in ours:
    if not isinstance(op, foo.Panel):
        ctx = foo.executor.ExecutionContext({"params": {}}, operator_uri=op.uri)
        form = op.resolve_input(ctx)
        bad = [p.error_message for p in form.type.properties.values() if p.invalid] if form else []
        said[op.name] = bad
panels = [op.name for op in ours if isinstance(op, foo.Panel)]
print(json.dumps({"operators": said, "panels": panels, "errors": registry.list_errors()}))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, database):
    """FiftyOne's folder of plugins, empty."""
    import fiftyone as fo

    place = tmp_path / "plugins"
    monkeypatch.setattr(fo.config, "plugins_dir", str(place))
    return place


def discover(folder, cwd=ROOT, **more):
    """What FiftyOne finds; at the root of the checkout a package called plugins would harm it."""
    done = subprocess.run(
        [sys.executable, "-c", DISCOVER],
        capture_output=True,
        text=True,
        env={**os.environ, "FIFTYONE_PLUGINS_DIR": str(folder), **more},
        cwd=cwd,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_fiftyone_finds_every_operator_and_panel(folder):
    plugins.install()
    found = discover(folder)
    assert found["errors"] == []
    assert sorted(found["operators"]) == sorted(MANIFEST["operators"])
    assert sorted(found["panels"]) == sorted(MANIFEST["panels"])


def test_the_manifest_is_of_this_version():
    from importlib.metadata import version

    assert MANIFEST["version"] == version("mincurate") and MANIFEST["name"] == plugins.NAME


def test_installing_links_says_so_and_changes_nothing_the_second_time(folder):
    assert not plugins.state().installed
    found, done = plugins.install()
    assert done == "installed" and found.current and found.link == folder / "mincurate"
    assert found.link.is_symlink() and found.link.resolve() == plugins.path()
    assert plugins.install()[1] == "unchanged"
    assert plugins.uninstall() == found.link and plugins.uninstall() is None
    assert (plugins.path() / "fiftyone.yml").is_file()


def test_the_link_of_another_installation_is_updated(folder, tmp_path):
    other = shutil.copytree(SOURCE, tmp_path / "other" / "mincurate")
    folder.mkdir()
    (folder / "mincurate").symlink_to(other)
    found = plugins.state()
    assert found.installed and not found.current and "another installation" in found.words
    assert plugins.install()[1] == "updated" and plugins.state().current
    shutil.rmtree(other)


def test_a_link_to_nothing_is_mended(folder):
    folder.mkdir()
    (folder / "mincurate").symlink_to(folder / "gone")
    assert plugins.install()[1] == "updated"


@pytest.mark.parametrize("what", ["copy", "strange"])
def test_what_is_not_ours_to_replace_is_left_alone(folder, what):
    if what == "copy":
        shutil.copytree(SOURCE, folder / "mincurate")
    else:
        (folder / "mincurate").mkdir(parents=True)
    with pytest.raises(UserError, match="move it away"):
        plugins.install()
    with pytest.raises(UserError, match="delete it yourself"):
        plugins.uninstall()
    assert (folder / "mincurate").is_dir()


def test_another_version_is_one_sentence_in_every_form(folder):
    copy = shutil.copytree(SOURCE, folder / "mincurate")
    manifest = (copy / "fiftyone.yml").read_text()
    (copy / "fiftyone.yml").write_text(
        manifest.replace(f"version: {MANIFEST['version']}", "version: 9.9.9")
    )
    found = discover(folder)
    assert sorted(found["operators"]) == sorted(MANIFEST["operators"])
    assert sorted(found["panels"]) == sorted(MANIFEST["panels"])
    for said in found["operators"].values():
        [sentence] = said
        assert "9.9.9" in sentence and "mincurate plugins install" in sentence


def test_a_missing_package_is_one_sentence_too(folder, tmp_path):
    shutil.copytree(SOURCE, folder / "mincurate")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    # Comes before the installed package, and fails as a missing one does.
    (hidden / "mincurate.py").write_text("raise ImportError('no mincurate')\n")
    found = discover(folder, cwd=tmp_path, PYTHONPATH=str(hidden))
    assert all("not installed" in said for [said] in found["operators"].values())


def test_the_commands_install_and_uninstall(tmp_path, monkeypatch, home):
    monkeypatch.setenv("FIFTYONE_PLUGINS_DIR", str(tmp_path / "plugins"))
    source = Path(command(home, "plugins", "path").strip())
    assert (source / "fiftyone.yml").read_bytes() == (SOURCE / "fiftyone.yml").read_bytes()
    assert "Installed" in command(home, "plugins", "install")
    assert (tmp_path / "plugins" / "mincurate" / "fiftyone.yml").is_file()
    assert "Removed" in command(home, "plugins", "uninstall")


@pytest.mark.slow
def test_the_wheel_holds_the_plugin_and_no_package_called_plugins(tmp_path, home, monkeypatch):
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", tmp_path, ROOT], check=True
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        file.extractall(tmp_path / "site")
    assert not any(name.startswith("plugins/") for name in names)
    there = {name.removeprefix("mincurate/plugin/") for name in names if "/plugin/" in name}
    assert there == {p.name for p in SOURCE.iterdir() if p.is_file()}
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path)
    said = command(home, "plugins", "path").strip()
    assert said == str(tmp_path / "site" / "mincurate" / "plugin")
