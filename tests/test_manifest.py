"""What napari reads at its start: valid, light, and every function there."""

import subprocess
import sys
from pathlib import Path

import pytest

import napari_droplets

npe2 = pytest.importorskip("npe2")


@pytest.fixture(scope="module")
def manifest():
    return npe2.PluginManifest.from_distribution("napari-droplets")


def test_manifest_is_valid_and_its_functions_exist(manifest):
    pytest.importorskip("napari")
    manifest.validate_imports()


def test_both_copies_are_one_and_the_same():
    top = Path(__file__).parents[1] / "napari.yaml"
    inside = Path(napari_droplets.__file__).with_name("napari.yaml")
    assert not inside.is_symlink()  # git on Windows makes a text file of a link
    assert inside.read_bytes() == top.read_bytes()


def test_contributions(manifest):
    contributions = manifest.contributions
    assert contributions.widgets[0].command == "napari-droplets.widget"
    menus = {name: [item.command for item in items] for name, items in contributions.menus.items()}
    assert menus["napari/layers/segment"][0] == "napari-droplets.widget"
    assert {f"napari-droplets.{name}" for name in ("next", "save", "calibrate")} == set(menus["napari/layers/measure"])
    titles = {command.id: command.title for command in contributions.commands}
    assert {
        f"napari-droplets.{name}" for name in ("detect", "run", "refit", "save", "next", "help", "batch", "next_image")
    } <= set(titles)
    assert len({*titles.values()}) == len(titles)
    assert contributions.sample_data[0].command == "napari-droplets.sample"
    assert contributions.readers[0].accepts_directories
    assert contributions.writers[0].filename_extensions == [".csv"]


def test_preferences_are_those_that_the_panel_reads(manifest):
    from napari_droplets.plugin.layers.coloring import CHOICES
    from napari_droplets.plugin.preferences import Preferences
    from napari_droplets.presets import PRESETS

    stated = manifest.contributions.configurations
    stated = {one.title: one for one in stated} if isinstance(stated, list) else stated
    properties = next(iter(stated.values())).properties
    assert {name: one.default for name, one in properties.items()} == Preferences()._asdict()
    assert properties["preset"].enum == list(PRESETS)
    assert set(properties["color_by"].enum) == set(CHOICES)


@pytest.mark.parametrize("module", ["files.readers", "files.writers", "files.samples", "commands", "layers"])
def test_entry_functions_import_nothing_heavy(module):
    code = f"""
import sys
import napari_droplets.plugin.{module}
heavy = {{"jax", "numpyro", "flax", "napari", "magicgui", "qtpy"}} & set(sys.modules)
sys.exit(", ".join(heavy) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_looking_at_a_foreign_file_imports_nothing_heavy(tmp_path):
    (tmp_path / "droplets.csv").write_text("a,b\n1,2\n")
    code = f"""
import sys
from napari_droplets.plugin.files.readers import get_reader
assert get_reader({str(tmp_path / "droplets.csv")!r}) is None
sys.exit(", ".join({{"jax", "pandas", "scipy", "matplotlib"}} & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_sample_opens_from_the_menu_and_the_widget_from_the_manifest(make_napari_viewer):
    viewer = make_napari_viewer()
    [layer] = viewer.open_sample("napari-droplets", "sample")
    assert layer.rgb
    assert layer.data.min() >= 0
    assert layer.data.max() <= 1
    _, widget = viewer.window.add_plugin_dock_widget("napari-droplets")
    assert widget.image.value is layer
