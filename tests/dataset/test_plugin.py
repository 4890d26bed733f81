"""The plugin is where FiftyOne finds it, all of it, or says in a sentence why it cannot work."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from conftest import command

from mincurate.dataset import ownership, plugin
from mincurate.errors import UserError

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "plugins" / "mincurate"
MANIFEST = yaml.safe_load((SOURCE / "fiftyone.yml").read_text())
DISCOVER = """
import json, sys
import fiftyone as fo, fiftyone.operators as foo
from fiftyone.operators.registry import OperatorRegistry
registry = OperatorRegistry()
ours = [op for op in registry.list_operators() if op.uri.startswith("@mincurate/")]
said, panels = {}, {}
for op in ours:
    executor = foo.executor.Executor()
    request = {"params": {"__method__": "on_load", "panel_id": "p", "panel_state": {}}}
    ctx = foo.executor.ExecutionContext(request, executor=executor, operator_uri=op.uri)
    if not isinstance(op, foo.Panel):
        form = op.resolve_input(ctx)
        bad = [p.error_message for p in form.type.properties.values() if p.invalid] if form else []
        said[op.name] = bad
    elif sys.argv[1:] == ["open"]:
        op.execute(ctx)
        [shown] = [r.params["output"]["type"] for r in executor._requests if "output" in r.params]
        panels[op.name] = [part["default"] for part in shown["properties"].values()]
    else:
        panels[op.name] = None
print(json.dumps({"operators": said, "panels": panels, "errors": registry.list_errors()}))
"""
"""What FiftyOne finds of ours, and what the forms refuse with; ``open``: what the panels say."""


@pytest.fixture
def folder(tmp_path, monkeypatch, database):
    """FiftyOne's folder of plugins, empty."""
    import fiftyone as fo

    place = tmp_path / "plugins"
    monkeypatch.setattr(fo.config, "plugins_dir", str(place))
    return place


def discover(folder, *arguments, cwd=ROOT, **more):
    """What FiftyOne finds; at the root of the checkout a package called plugins would harm it."""
    done = subprocess.run(
        [sys.executable, "-c", DISCOVER, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "FIFTYONE_PLUGINS_DIR": str(folder), **more},
        cwd=cwd,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def test_fiftyone_finds_every_operator_and_panel(folder):
    plugin.install()
    found = discover(folder)
    assert found["errors"] == []
    assert sorted(found["operators"]) == sorted(MANIFEST["operators"])
    assert sorted(found["panels"]) == sorted(MANIFEST["panels"])


def test_the_manifest_is_of_this_version():
    from importlib.metadata import version

    assert MANIFEST["version"] == version("mincurate") and MANIFEST["name"] == plugin.NAME


def test_installing_links_says_so_and_changes_nothing_the_second_time(folder):
    assert not plugin.state().installed
    found, done = plugin.install()
    assert done == "installed" and found.current and found.link == folder / "mincurate"
    assert found.link.is_symlink() and found.link.resolve() == plugin.path()
    assert plugin.install()[1] == "unchanged"
    assert plugin.uninstall() == found.link and plugin.uninstall() is None
    assert (plugin.path() / "fiftyone.yml").is_file()


def test_the_link_of_another_installation_is_updated(folder, tmp_path):
    other = shutil.copytree(SOURCE, tmp_path / "other" / "mincurate")
    folder.mkdir()
    (folder / "mincurate").symlink_to(other)
    found = plugin.state()
    assert found.installed and not found.current and "another installation" in found.words
    assert plugin.install()[1] == "updated" and plugin.state().current
    shutil.rmtree(other)


def test_a_link_to_nothing_is_mended(folder):
    folder.mkdir()
    (folder / "mincurate").symlink_to(folder / "gone")
    assert plugin.install()[1] == "updated"


@pytest.mark.parametrize("manifest", [None, "name: '@somebody/else'\n", "- no manifest\n"])
def test_what_is_not_ours_to_replace_is_left_alone(folder, manifest):
    (folder / "mincurate").mkdir(parents=True)
    if manifest:
        (folder / "mincurate" / "fiftyone.yml").write_text(manifest)
    with pytest.raises(UserError, match="move it away"):
        plugin.install()
    with pytest.raises(UserError, match="delete it yourself"):
        plugin.uninstall()
    assert [place.name for place in folder.iterdir()] == ["mincurate"]


@pytest.fixture
def old_copy(folder):
    """A copy of the plugin, not a link, that calls itself version 9.9.9."""
    copy = shutil.copytree(SOURCE, folder / "mincurate")
    manifest = (copy / "fiftyone.yml").read_text()
    (copy / "fiftyone.yml").write_text(
        manifest.replace(f"version: {MANIFEST['version']}", "version: 9.9.9")
    )
    return copy


def test_another_version_is_one_sentence_in_every_form_and_panel(folder, old_copy):
    found = discover(folder, "open")
    assert sorted(found["operators"]) == sorted(MANIFEST["operators"])
    assert sorted(found["panels"]) == sorted(MANIFEST["panels"])
    for said in [*found["operators"].values(), *found["panels"].values()]:
        [sentence] = said
        assert "9.9.9" in sentence and "mincurate plugins install" in sentence


def test_what_the_sentence_says_replaces_a_copy_and_keeps_it_out_of_sight(folder, old_copy):
    assert plugin.state().version == "9.9.9"
    found, done = plugin.install()
    assert done == "updated" and found.current and old_copy.is_symlink()
    [kept] = folder.glob(".mincurate-9.9.9-*")
    assert "9.9.9" in (kept / "fiftyone.yml").read_text()
    found = discover(folder)
    assert found["errors"] == [] and sorted(found["panels"]) == sorted(MANIFEST["panels"])
    assert not any("9.9.9" in str(said) for said in found["operators"].values())


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
def test_launch_installs_the_plugin_and_says_so_unless_it_is_told_not_to(folder, shapes, home):
    import fiftyone as fo

    made = fo.Dataset("launched", persistent=True, overwrite=True)
    made.add_sample(fo.Sample(filepath=str(next(shapes.rglob("*.png")))))
    made.save_view("rarest-first", made.view())
    ownership.change(made, views=["rarest-first"])
    link = folder / "mincurate"
    try:
        assert "plugin" not in launched(folder, home, "--no-plugin") and not os.path.lexists(link)
        said = launched(folder, home)
        assert f"plugin is installed: {link}" in said and "--no-plugin" in said
        assert link.resolve() == plugin.path()
    finally:
        made.delete()


def launched(folder, home, *options):
    """What `mincurate launch` prints until the App is up and Ctrl-C closes it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    code = "from mincurate.cli import main; main()"
    server = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-c",
            code,
            "launch",
            "launched",
            "--port",
            port,
            "--remote",
            *options,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            **os.environ,
            **{"COLUMNS": "300", "MINCURATE_HOME": str(home), "FIFTYONE_PLUGINS_DIR": str(folder)},
        },
    )
    said = ""
    for line in server.stdout:
        said += line
        if "Ctrl-C closes" in line:
            time.sleep(1)  # it says so a moment before it listens
            server.send_signal(signal.SIGINT)
    assert server.wait(60) == 0 and "Closed." in said, said
    return said


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


def test_the_plugin_finds_the_plotly_of_the_app_that_is_installed():
    script = (SOURCE / MANIFEST["js_bundle"]).read_text()
    pattern = re.search(r"PLOTLY = /(.+)/;", script).group(1).replace(r"\/", "/")
    assets = Path(find_spec("fiftyone").origin).parent / "server" / "static" / "assets"
    named = {m.group(1) for f in assets.glob("*.js") for m in re.finditer(pattern, f.read_text())}
    assert named and all((assets / name).stat().st_size > 1e6 for name in named)
