"""Tests that open windows are skipped, with the reason, where the machine cannot open any."""

import ctypes
import importlib.util
import os
import shutil
import sys
from contextlib import contextmanager, suppress

import pytest

WINDOWS_ON_DEBIAN = "apt-get install -y --no-install-recommends xvfb libxcb-icccm4 libxcb-keysyms1"
XCB_LIBRARIES = ("libxcb-icccm.so.4", "libxcb-keysyms.so.1")  # Qt ends the process, untested, where these are missing
WINDOW_FIXTURES = {"qapp", "qtbot", "make_napari_viewer"}


def _qt_trouble():
    """Why Qt cannot be used, None where it can."""
    if not all(importlib.util.find_spec(name) for name in ("napari", "PyQt6")):
        return "needs napari and Qt: pip install 'napari-droplets[all]'"
    try:
        import PyQt6.QtGui
        import PyQt6.QtTest  # noqa: F401
    except ImportError as error:
        return f"{error}; on Debian: {WINDOWS_ON_DEBIAN}"
    return None


def _screen_trouble():
    """Why no window can be opened although there is Qt, None where one can."""
    if sys.platform != "linux":
        return None
    try:
        for name in XCB_LIBRARIES:
            ctypes.CDLL(name)
    except OSError as error:
        return f"{error}; on Debian: {WINDOWS_ON_DEBIAN}"
    if not shutil.which("Xvfb") and "DISPLAY" not in os.environ:
        return f"needs a screen; on Debian: {WINDOWS_ON_DEBIAN}"
    return None


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path_factory, monkeypatch):
    """Sessions are kept where no other test, and nobody's work, is."""
    monkeypatch.setenv("NAPARI_DROPLETS_DATA", str(tmp_path_factory.mktemp("data")))


@pytest.fixture
def plugins_of_napari():
    """Registered, once: a test with a window lets napari forget that they are, and then it complains."""
    from napari.plugins import _initialize_plugins

    with suppress(ValueError):
        _initialize_plugins()


@pytest.fixture
def fake(monkeypatch):
    """A quick stand-in for the fit."""
    from fake_fit import FakeFit

    from napari_droplets.inference import api as fitting
    from napari_droplets.plugin.jobs import work

    fake = FakeFit()
    for name in ("iterate", "iterate_refit", "detect_all"):
        monkeypatch.setattr(fitting, name, getattr(fake, name))
    monkeypatch.setattr("napari_droplets.inference.detect.detect_all", fake.detect_all)
    for name in ("warm", "rehearse"):
        monkeypatch.setattr(work, name, lambda *_: None)  # a fit that is none needs no programs
    return fake


@pytest.fixture
def window(make_napari_viewer):
    """A viewer with its window; it takes seconds, so that most tests do with the next one."""
    return make_napari_viewer()


@pytest.fixture
def viewer(qapp):
    """The model of a viewer: layers and dimensions without a window."""
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def open_widget(qtbot):
    def open_widget(viewer):
        if hasattr(viewer, "window"):
            widget = viewer.window.add_plugin_dock_widget("napari-droplets")[1]
        else:
            from napari_droplets.plugin.widget import DropletsWidget

            widget = DropletsWidget(viewer)
            qtbot.addWidget(widget)
        widget.refit_edits = False  # what is computed in the background has tests of its own
        return widget

    return open_widget


@pytest.fixture
def notices(monkeypatch):
    """What napari shows as notifications."""
    from napari.utils import notifications

    seen = []
    for level in ("info", "warning", "error"):
        monkeypatch.setattr(notifications, f"show_{level}", lambda text, level=level: seen.append((level, text)))
    return seen


def pytest_addoption(pluginmanager):
    """Without Qt pytest-qt would refuse to run any test at all."""
    if _qt_trouble() and pluginmanager.has_plugin("pytest-qt"):
        pluginmanager.unregister(name="pytest-qt")


def pytest_collection_modifyitems(items):
    trouble = _qt_trouble() or _screen_trouble()
    for item in items if trouble else ():
        if WINDOW_FIXTURES & set(item.fixturenames):
            item.add_marker(pytest.mark.skip(reason=trouble))


STRICT = {
    "test_assignment",
    "test_background",
    "test_droplet_step",
    "test_optics",
    "test_outline",
    "test_picture",
    "test_rendering",
    "test_start",
    "test_transforms",
}
"""Tests in which numbers of different precision do not mix; Optax and NumPyro do mix them."""
NAN_CHECKED = STRICT | {
    "test_fit",
    "test_gauss_newton",
    "test_generative",
    "test_number_of_components",
    "test_optics_step",
    "test_population",
    "test_refit",
    "test_service",
}
"""Tests of the model and of inference, in which NaN are errors."""


@contextmanager
def strictly(promotion="strict"):
    import jax

    before = jax.config.jax_numpy_dtype_promotion, jax.config.jax_debug_nans
    jax.config.update("jax_numpy_dtype_promotion", promotion)
    jax.config.update("jax_debug_nans", True)
    try:
        yield
    finally:
        jax.config.update("jax_numpy_dtype_promotion", before[0])
        jax.config.update("jax_debug_nans", before[1])


@pytest.fixture(scope="module", autouse=True)
def strict(request):
    name = request.module.__name__
    if name not in NAN_CHECKED:
        yield
        return
    with strictly("strict" if name in STRICT else "standard"):
        yield


@pytest.fixture(scope="session")
def simulated():
    """An image of 26 dyed droplets and their truth."""
    import napari_droplets as nd

    return nd.simulate((96, 112), 26, radius=5, types=3, seed=11)


@pytest.fixture(scope="session")
def fitted(simulated):
    """A whole fit of that image, as a user gets it who sets nothing."""
    import napari_droplets as nd

    with strictly("standard"):
        return nd.fit(simulated[0])
