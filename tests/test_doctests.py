"""Examples in docstrings run as they are written."""

import doctest
import importlib
import pkgutil

import pytest

import napari_droplets

HEAVY = ("napari_droplets.plugin", "napari_droplets.training.loop", "napari_droplets.training.report")


def with_examples():
    """Modules whose docstrings hold examples; those of the plugin need a window."""
    found = []
    for info in pkgutil.walk_packages(napari_droplets.__path__, "napari_droplets."):
        spec = importlib.util.find_spec(info.name) if not info.name.startswith(HEAVY) else None
        if spec and spec.origin and spec.origin.endswith(".py") and not info.name.endswith("__main__"):
            with open(spec.origin, encoding="utf-8") as file:
                if ">>>" in file.read():
                    found.append(info.name)
    return found


MODULES = with_examples()


def test_the_public_functions_have_examples():
    assert {"inference.api", "composition.anchors", "simulate"} <= {name.split(".", 1)[1] for name in MODULES}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0
