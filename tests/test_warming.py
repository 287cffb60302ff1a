"""The thread that compiles while proposals are looked at: one at a time, stopped in time, in nobody's way."""

import threading

import numpy as np
import pytest

from napari_droplets.droplets import Droplets
from napari_droplets.inference import api as fitting
from napari_droplets.settings import Settings

pytest.importorskip("napari")
from napari_droplets.plugin import work
from napari_droplets.plugin.place import Place, Plane
from napari_droplets.plugin.warming import Warmer

SECONDS = 10  # most that anything may take
PLACE, PLANE = Place("slide", layer_id="1"), Plane(np.zeros((20, 20)), "slide", False)
FOUND = Droplets([3.0, 4.0], [3.0, 9.0], [2.0, 2.0])
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
    warmer.wait()


def start(warmer, **changes):
    warmer.start(PLACE, PLANE, FOUND, SETTINGS | changes)


def test_the_same_is_not_compiled_twice_whether_done_or_under_way(warmer, compiler):
    start(warmer)
    start(warmer, seed=7, steps=3)  # of no matter
    compiler.finish.set()
    warmer._thread.join(SECONDS)
    start(warmer)
    assert not warmer.busy
    assert len(compiler.calls) == 1
    assert compiler.calls[0][0] is not threading.main_thread()


def test_another_form_takes_its_turn_and_the_last_one_stops(warmer, compiler):
    start(warmer)
    assert compiler.began.wait(SECONDS)
    for types in (1, 2, 4):
        start(warmer, types=types)
    compiler.finish.set()
    warmer._thread.join(SECONDS)
    assert compiler.most == 1
    assert [types for _, types in compiler.calls] == [3, 4]  # nobody waits for 1 and 2 any more
    start(warmer)  # it was not finished
    warmer._thread.join(SECONDS)
    assert [types for _, types in compiler.calls] == [3, 4, 3]


def test_waiting_stops_it(warmer, compiler):
    start(warmer)
    assert compiler.began.wait(SECONDS)
    warmer.wait()
    assert not warmer.busy
    assert compiler.running == 0
    warmer.wait()  # and again, for nothing


def test_errors_stay_in_the_thread(warmer, compiler, monkeypatch):
    told = []
    monkeypatch.setattr(threading, "excepthook", told.append)  # from where napari would tell the user
    compiler.error = OSError("the file is gone")
    compiler.finish.set()
    start(warmer)
    warmer._thread.join(SECONDS)
    assert len(compiler.calls) == 1
    assert not told
    start(warmer)
    warmer._thread.join(SECONDS)
    assert len(compiler.calls) == 2  # as it did not work


def test_python_waits_for_it_to_end(warmer, compiler):
    start(warmer)
    assert not warmer._thread.daemon


def test_a_fit_waits_when_droplets_are_found_and_before_anything_is_traced():
    told = []

    def steps():
        for stage in ("detect", "compile", "fit"):
            reply = yield fitting.waiting(stage, Settings())
            told.append((stage, reply))
        return "result"

    alone = work.alone(steps(), lambda: told.append("waited"))
    assert next(alone).stage == "detect"
    assert alone.send(None).stage == "compile"
    assert told == [("detect", None)]
    assert alone.send(None).stage == "fit"
    assert told[1:] == ["waited", ("compile", None)]
    with pytest.raises(StopIteration) as end:
        alone.send(False)
    assert end.value.value == "result"
    assert told[-1] == ("fit", False)
