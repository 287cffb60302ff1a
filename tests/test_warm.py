"""What is compiled ahead is what a fit needs, and nothing that goes wrong in it is anybody's trouble."""

from dataclasses import asdict, replace

import numpy as np
import pytest

import napari_droplets as nd
from napari_droplets.inference import api as fitting
from napari_droplets.inference import laplace, optimize, posterior, prepare, svi, warm
from napari_droplets.settings import Settings


@pytest.fixture(scope="module")
def image():
    return nd.Image(nd.simulate((64, 80), 12, radius=5, seed=3)[0])


@pytest.fixture(scope="module")
def candidates(image):
    return fitting.detect_all(image).candidates


def test_after_it_a_fit_compiles_nothing_of_ours(image, candidates, monkeypatch):
    monkeypatch.setattr(prepare, "LEAST_TILES", 32)  # the image is larger than the smallest arrays hold
    monkeypatch.setattr(prepare, "LEAST_DROPLETS", 4)
    jitted = (svi.chunk, laplace._pass, laplace._residuals, posterior.render_latents)

    def compiled():
        return np.array([f._cache_size() for f in jitted])

    settings = Settings(types=2, background="uniform", steps=50)  # a form of the model that no other test fits
    before = compiled()
    warm.warm(image, candidates, settings)
    after = compiled()
    assert (after > before).all()
    nd.fit(image, callback=lambda p: bool(p.step and p.snapshot()) or None, **asdict(settings))
    assert compiled().tolist() == after.tolist()


@pytest.mark.parametrize("more", [{}, {"population": "given"}, {"detector": "blobs"}])
def test_it_begins_where_the_fit_begins(image, more):
    settings = Settings(**more)
    found = fitting.detect_all(image, **more).candidates
    start, wanted = warm._start(image, found, settings), fitting.start_of(image, None, settings)
    np.testing.assert_array_equal(start.x, wanted.x)
    assert (start.p_present is None) == (wanted.p_present is None)


@pytest.fixture
def prepared(monkeypatch):
    """Calls of `prepare`, which does nothing else."""
    calls = []
    monkeypatch.setattr(prepare, "prepare", lambda *args, **kwargs: calls.append(args) or 1 / 0)
    return calls


def test_errors_become_a_message(image, candidates, prepared, caplog):
    warm.warm(image, candidates, Settings())
    assert len(prepared) == 1
    assert "could not be compiled ahead" in caplog.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("more", [{}, {"population": "given"}])
def test_nothing_is_compiled_for_an_image_that_would_not_be_fitted(image, candidates, prepared, more):
    improbable = replace(candidates, p_present=np.full(len(candidates), 0.1))
    for found in (candidates[:0], improbable):
        warm.warm(image, found, Settings(**more))
    assert not prepared


def test_it_stops_between_programs(image, candidates, prepared, monkeypatch):
    warm.warm(image, candidates, Settings(), lambda: False)
    assert not prepared
    monkeypatch.undo()
    begun = []

    def chunks(*args):
        for program in ("first", "second"):
            begun.append(program)
            yield fitting.waiting("fit", Settings())
        return None

    monkeypatch.setattr(optimize, "iterate_chunks", chunks)
    warm.warm(image, candidates, Settings(), lambda: not begun)
    assert begun == ["first"]
