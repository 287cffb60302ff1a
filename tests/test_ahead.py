"""What is compiled while droplets are looked for is what the fit needs, once, and failures are nobody's trouble."""

import threading
from dataclasses import asdict

import numpy as np
import pytest

import napari_droplets as nd
from napari_droplets.inference import ahead, laplace, svi
from napari_droplets.settings import AUTO, Settings


@pytest.fixture
def image():
    return nd.Image(nd.simulate((64, 80), 12, radius=5, seed=3)[0])


@pytest.fixture(autouse=True)
def nothing_compiled(monkeypatch):
    monkeypatch.setattr(ahead, "_compiled", set())


def test_steps_and_passes_of_a_fit_are_compiled_meanwhile(image):
    settings = Settings(background="uniform", noise=0.03, steps=25)  # a form of the model that no other test fits

    def compiled():
        return [f._cache_size() for f in (svi.chunk, laplace._pass)]

    before = compiled()
    with ahead.meanwhile(image, settings):
        pass
    after = compiled()
    assert np.all(np.array(after) > before)
    truth = nd.Droplets(np.array([20.0, 50]), np.array([30.0, 40]), np.array([5.0, 5]), p_present=np.ones(2))
    nd.fit(image, truth, **asdict(settings) | {"population": "given"})
    assert compiled() == after


@pytest.fixture
def threads(monkeypatch):
    """Names of the threads that are begun, which do nothing."""
    begun = []

    class Thread:
        def __init__(self, target, args, name):
            begun.append(args[:3])

        def start(self):
            pass

        join = start

    monkeypatch.setattr(threading, "Thread", Thread)
    return begun


def test_once_for_a_form_and_a_size(image, threads):
    for settings in (Settings(), Settings(seed=1), Settings(types=5), Settings()):
        with ahead.meanwhile(image, settings):
            pass
    assert len(threads) == 2
    large = nd.Image(np.zeros((1000, 1000, 3), np.float32))
    with ahead.meanwhile(large, Settings()):
        pass
    assert threads[2][1] > threads[0][1]


def test_not_where_it_is_known_or_cannot_be(image, threads):
    ahead.compiled(image, Settings())
    for settings in (Settings(), Settings(types=AUTO)):
        with ahead.meanwhile(image, settings):
            pass
    assert not threads


def test_an_error_of_the_compiler_is_a_message(image, monkeypatch, caplog):
    monkeypatch.setattr(ahead, "_nothing", lambda *_: 1 / 0)
    with ahead.meanwhile(image, Settings()):
        pass
    assert "ZeroDivisionError" in caplog.text


def test_an_error_meanwhile_ends_it(image, monkeypatch):
    steps = []
    reached = threading.Event()

    def passes(*_):
        reached.wait(10)
        steps.append("pass")

    monkeypatch.setattr(ahead, "evidence", passes)
    monkeypatch.setattr(svi, "chunk", lambda *_: steps.append("chunk"))

    def detect():
        with ahead.meanwhile(image, Settings()):
            threading.Timer(0.2, reached.set).start()
            raise KeyError("no droplets")

    with pytest.raises(KeyError):
        detect()
    assert steps == ["pass"]
