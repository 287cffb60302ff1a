"""Programs are made one at a time, and ahead of need without harm."""

import logging
import threading
import time

import jax
import numpy as np
import pytest

import napari_droplets as nd
from napari_droplets.compiling import service
from napari_droplets.compiling.service import meanwhile, tracing
from napari_droplets.inference import ahead, start
from napari_droplets.model import optics, rendering

WAIT = 10.0


class Watch:
    """Notes how many threads are inside at once; each stays a while, so that they would meet."""

    def __init__(self, seconds):
        self.seconds, self.inside, self.most, self.entered = seconds, {}, 0, 0
        self.lock = threading.Lock()

    def __enter__(self):
        me = threading.get_ident()
        with self.lock:
            self.inside[me] = self.inside.get(me, 0) + 1
            self.most, self.entered = max(self.most, sum(n > 0 for n in self.inside.values())), self.entered + 1
        time.sleep(self.seconds)

    def __exit__(self, *_):
        with self.lock:
            self.inside[threading.get_ident()] -= 1


def together(*calls):
    """Run them in threads that begin at once; errors are raised here."""
    ready, errors = threading.Barrier(len(calls)), []

    def work(call):
        ready.wait(WAIT)
        try:
            call()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]


def nobody_compiles():
    """Wait for what other tests have compiled ahead of need; nobody else waits for it."""
    for thread in threading.enumerate():
        if thread.name == "napari-droplets compiling":
            thread.join(60)


@pytest.fixture(autouse=True)
def nothing_made(monkeypatch):
    nobody_compiles()
    monkeypatch.setattr(service, "_made", set())


def test_the_first_time_alone_and_then_freely():
    watch = Watch(0.05)

    def run(key):
        with tracing(key), watch:
            pass

    together(*(lambda k=k: run(k) for k in ("a", "a", "b")))
    assert watch.most == 1
    free = Watch(0.2)
    watch = free
    together(*(lambda k=k: run(k) for k in ("a", "a", "b")))
    assert free.most > 1


def test_what_is_there_already_does_not_wait_for_others():
    with tracing("known"):
        pass
    inside, leave = threading.Event(), threading.Event()

    def slow():
        with tracing("new"):
            inside.set()
            leave.wait(WAIT)

    thread = threading.Thread(target=slow)
    thread.start()
    inside.wait(WAIT)
    began = time.perf_counter()
    with tracing("known"):
        pass
    assert time.perf_counter() - began < 1
    leave.set()
    thread.join()


def test_programs_made_before_are_traced_alone_when_they_must_be_again():
    """As after a change of JAX's settings, or when its caches were cleared."""
    watch = Watch(0.1)

    def body(x):
        with watch:
            return x + 1

    programs = [service.jit(body) for _ in range(3)]
    together(*(lambda p=p: p(np.float32(1)) for p in programs))
    assert (watch.entered, watch.most) == (3, 1)
    jax.clear_caches()
    together(*(lambda p=p: p(np.float32(1)) for p in programs))
    assert (watch.entered, watch.most) == (6, 1)


def test_what_failed_is_made_again():
    with pytest.raises(ZeroDivisionError), tracing("bad"):
        _ = 1 / 0
    assert "bad" not in service._made
    with tracing("bad"), tracing("within"):
        pass
    assert service._made == {"bad", "within"}


def discs_of(channels=1):
    image, truth = nd.simulate((40, 48), 5, radius=5, seed=2, gray=channels == 1)
    return image, nd.Droplets(truth.x, truth.y, truth.radius)


@pytest.fixture(scope="module")
def two_fits():
    """Two fits in two threads, of forms that no other test has: who traces their steps, and who traces at all."""
    nobody_compiles()
    steps, anything, change = Watch(0.1), Watch(0.0), optics.color_change

    def in_steps(weights, inputs, composition):
        if not isinstance(inputs, jax.core.Tracer):
            return change(weights, inputs, composition)
        with anything, steps:
            return change(weights, inputs, composition)

    def at_the_start(weights, inputs, composition):
        with anything:
            time.sleep(0.1)
            return change(weights, inputs, composition)

    image, droplets = discs_of()
    results = {}

    def fit(types):
        learned = nd.Optics(optics.initial_weights(0, 1, types), {}, types, 1, 5.0, "free", "layered", 0.02, 0.7)
        settings = {"types": types, "population": "given", "learn_optics": False}
        results[types] = nd.fit(image, droplets, learned, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "color_change", in_steps)
        patch.setattr(start, "_jitted", service.jit(at_the_start))
        together(lambda: fit(6), lambda: fit(7))
    assert sorted(results) == [6, 7]
    return steps, anything


def test_steps_of_two_fits_in_two_threads_are_never_traced_at_once(two_fits):
    steps, _ = two_fits
    assert steps.entered > 6
    assert steps.most == 1


def test_two_fits_in_two_threads_never_trace_at_once(two_fits):
    """Nothing of the model, the first look at droplets included."""
    assert two_fits[1].most == 1


def test_a_failure_ahead_of_need_is_logged_once_and_harmless(monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(ahead, "make", broken)
    image, droplets = discs_of(3)
    with caplog.at_level(logging.WARNING):
        result = nd.fit(image, droplets, population="given", steps=1)
    assert len(result.table) == 5
    mine = [r for r in caplog.records if r.name.startswith("napari_droplets")]
    assert [r.getMessage() for r in mine] == ["programs could not be compiled ahead"]
    assert "no compiler" in caplog.text


def test_it_is_asked_to_stop_and_not_waited_for():
    began, ended = threading.Event(), threading.Event()

    def make(wanted):
        began.set()
        while wanted():
            time.sleep(0.01)
        ended.set()

    def detect():
        with meanwhile(make):
            began.wait(WAIT)
            raise KeyError("no droplets")

    with pytest.raises(KeyError):
        detect()
    assert ended.wait(WAIT)


def test_programs_are_asked_for_one_by_one(monkeypatch):
    """Between two of them it stops where nobody wants more; steps of optics only where they are learned."""
    made = []
    monkeypatch.setattr(ahead, "pass_over", lambda *a: made.append("pass"))
    monkeypatch.setattr(ahead, "steps_of", lambda *a: made.append("steps"))
    form = ahead.Form(1, 1)
    ahead.make(form, 16)
    assert made == ["pass", "steps"]
    ahead.make(form, 16, lambda: False)
    ahead.make(form, 16, learning=False)
    assert made == ["pass", "steps", "pass", "pass"]
    assert ahead.usual_size() == ahead.usual_size(100)
    assert ahead.usual_size(5000) > 5000
    assert np.log2(ahead.usual_size(5000)) % 1 == 0
