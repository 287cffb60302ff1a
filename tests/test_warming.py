"""The thread that compiles while proposals are looked at: what a fit needs, one at a time, in nobody's way."""

import threading

import jax
import numpy as np
import pytest

import napari_droplets as nd
from napari_droplets.inference import ahead
from napari_droplets.inference.steps import gauss_newton, optics_step
from napari_droplets.model.problem import GROWTH, LEAST_DROPLETS
from napari_droplets.settings import AUTO, Settings

pytest.importorskip("napari")
from napari_droplets.plugin.jobs import work
from napari_droplets.plugin.jobs.warming import Warmer
from napari_droplets.plugin.layers.place import Plane

SECONDS = 10  # most that anything may take
PLANE, FOUND = Plane(np.arange(400.0).reshape(20, 20), "slide", False), 2
SETTINGS = vars(Settings())


class Compiler:
    """Stands in for `work.warm`: works until it is told to stop, or to go on to the end."""

    def __init__(self):
        self.began, self.finish = threading.Event(), threading.Event()
        self.running = self.most = 0
        self.calls = []
        self.error = None

    def __call__(self, plane, candidates, settings, wanted):
        self.running += 1
        self.most = max(self.most, self.running)
        self.calls.append((threading.current_thread(), settings["types"]))
        self.began.set()
        while wanted() and not self.finish.wait(0.01):
            pass
        self.running -= 1
        if self.error:
            raise self.error


@pytest.fixture
def compiler(monkeypatch):
    compiler = Compiler()
    monkeypatch.setattr(work, "warm", compiler)
    return compiler


@pytest.fixture
def warmer(compiler):
    warmer = Warmer()
    yield warmer
    warmer.stop()
    joined(warmer)


def joined(warmer):
    if warmer._thread is not None:
        warmer._thread.join(SECONDS)
    assert not warmer.busy


def start(warmer, **changes):
    warmer.start(PLANE, FOUND, SETTINGS | changes)


def test_another_form_takes_its_turn_and_the_last_one_stops(warmer, compiler):
    start(warmer)
    assert compiler.began.wait(SECONDS)
    for types in (1, 2, 4):
        start(warmer, types=types)
    compiler.finish.set()
    joined(warmer)
    assert compiler.most == 1
    assert [types for _, types in compiler.calls] == [3, 4]  # nobody waits for 1 and 2 any more


def test_it_is_stopped_between_programs(warmer, compiler):
    start(warmer)
    assert compiler.began.wait(SECONDS)
    assert warmer.busy
    assert compiler.calls[0][0] is not threading.main_thread()
    warmer.stop()
    joined(warmer)
    assert compiler.running == 0


def test_errors_stay_in_the_thread(warmer, compiler, monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)  # from where napari would tell the user
    compiler.error = OSError("the file is gone")
    compiler.finish.set()
    for n in (1, 2):
        start(warmer)
        joined(warmer)
        assert len(compiler.calls) == n
    assert not told


def test_python_waits_for_it_to_end(warmer, compiler):
    start(warmer)
    assert not warmer._thread.daemon


@pytest.mark.parametrize(("channels", "rgb"), [(1, False), (3, True)])
def test_the_programs_are_those_of_image_and_settings(monkeypatch, channels, rgb):
    made = []
    monkeypatch.setattr(ahead, "make", lambda form, droplets, wanted: made.append((form, droplets)))
    data = np.random.default_rng(0).random((20, 20, 3) if rgb else (20, 20))
    settings = SETTINGS | {"types": 4, "composition": "simplex"}
    work.warm(Plane(data, "slide", rgb), LEAST_DROPLETS, settings, lambda: True)
    [(form, droplets)] = made
    assert (form.channels, form.types, form.composition) == (channels, 4, "simplex")
    assert droplets == GROWTH * LEAST_DROPLETS  # one more, for none
    work.warm(PLANE, 3000, settings | {"types": AUTO}, lambda: True)
    assert len(made) == 1  # nobody knows how many components there will be


@pytest.fixture
def compiled(caplog):
    """Call for the names of programs that were compiled since the last call, in any thread."""
    before = jax.config.jax_log_compiles
    jax.config.update("jax_log_compiles", True)

    def told():
        text, begin = caplog.text, "Compiling jit("
        caplog.clear()
        return {line.split(begin)[1].split(")")[0] for line in text.splitlines() if begin in line}

    yield told
    jax.config.update("jax_log_compiles", before)


def test_after_it_a_fit_compiles_no_step_of_its_own(compiled):
    image, truth = nd.simulate((64, 64), 8, radius=5, gray=True, seed=3)
    settings = {"types": 2, "composition": "simplex"}  # a form of the model that no other test of this module has
    steps = {gauss_newton.measure.__name__, optics_step.chunk.__name__}
    work.warm(Plane(image, "slide", False), len(truth), SETTINGS | settings, lambda: True)
    assert steps <= compiled()
    nd.fit(image, truth, population="given", steps=50, **settings)
    assert not steps & compiled()
