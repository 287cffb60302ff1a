"""What has to be quick loads no compiler: the package, its tables, the command line's help, the panel."""

import importlib.util
import os
import subprocess
import sys

import pytest

COMPILERS = {"jax", "jaxlib", "numpyro", "flax", "optax"}
NEEDS_WINDOW = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("napari", "PyQt6")), reason="needs napari and Qt"
)


@pytest.mark.parametrize(
    "code",
    [
        "import napari_droplets",
        "import napari_droplets as nd; nd.Settings, nd.Droplets, nd.Image, nd.read, nd.simulate, nd.InputError",
        "import napari_droplets as nd; nd.fit, nd.iterate, nd.detect, nd.refit, nd.to_layers",
        "import napari_droplets as nd; nd.simulate((32, 32), 3)",
        "from napari_droplets.cli.options import parser; parser().format_help()",
        pytest.param("import napari_droplets.plugin.widget", marks=NEEDS_WINDOW),
        pytest.param(
            "from napari.components import ViewerModel\n"
            "from qtpy.QtWidgets import QApplication; app = QApplication([])\n"
            "from napari_droplets.plugin.widget import DropletsWidget; DropletsWidget(ViewerModel())",
            marks=NEEDS_WINDOW,
        ),
    ],
)
def test_no_compiler_is_loaded(code):
    code = f"{code}\nimport sys\nsys.exit(', '.join({COMPILERS!r} & set(sys.modules)) or 0)"
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
