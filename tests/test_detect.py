"""What detection makes of a detector's candidates; the detectors have tests of their own."""

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import napari_droplets as nd
from napari_droplets.droplets import Droplets
from napari_droplets.errors import InputError
from napari_droplets.inference import api as fitting

asked_weights = []

P = np.array([0.02, 0.4, 0.5, 0.9, 1.0])


@pytest.fixture
def network(monkeypatch):
    """Stands in for the network; remembers what it was asked."""
    asked = []
    asked_weights.clear()

    def detect_droplets(image, diameter=None, weights=None):
        asked.append((image.shape, diameter))
        asked_weights.append(weights)
        at = np.arange(10.0, 15.0)
        return Droplets(at, at, np.full(5, 3.0), *np.full((3, 5), 0.2), P, pixel_size_um=image.pixel_size_um)

    monkeypatch.setitem(
        sys.modules,
        "napari_droplets.detection.scales",
        SimpleNamespace(detect_droplets=detect_droplets, count_sd=lambda p, weights: len(p) / 4),
    )
    return asked


IMAGE = np.random.default_rng(0).uniform(size=(40, 60, 3))


def test_improbable_candidates_are_no_droplets_but_count_in_part(network):
    detection = fitting.detect_all(IMAGE)
    assert detection.droplets.p_present.tolist() == [0.5, 0.9, 1.0]
    assert detection.candidates.p_present.tolist() == P.tolist()
    assert detection.count_mean == pytest.approx(2.82)
    assert detection.count_sd == len(P) / 4  # as calibrated
    assert len(nd.detect(IMAGE, min_probability=0.95)) == 1
    assert len(nd.detect(IMAGE, min_probability=0)) == 5


def test_the_network_sees_the_image_as_it_is_at_whatever_scale_it_is_fitted(network):
    """Of half an image it would tell centers and radii less exactly."""
    found = nd.detect(IMAGE, scale=0.5, diameter=8, pixel_size_um=0.2)
    assert network == [((40, 60, 3), 8)]
    whole = nd.detect(IMAGE, diameter=8, pixel_size_um=0.2)
    pd.testing.assert_frame_equal(found.to_dataframe(), whole.to_dataframe(), check_exact=True)
    assert found.pixel_size_um == pytest.approx(0.2)


def test_blobs_too():
    image, _ = nd.simulate((96, 120), 12, radius=8, seed=3)
    whole, half = (nd.detect(image, detector="blobs", scale=scale).to_dataframe() for scale in (1, 0.5))
    pd.testing.assert_frame_equal(whole, half, check_exact=True)


def test_a_fit_starts_from_the_probable_ones(network):
    image = fitting.image_of(IMAGE, fitting.Settings())
    assert fitting.propose(image, fitting.Settings(min_probability=0.9)).p_present.tolist() == [0.9, 1.0]


def test_weights_are_those_asked_for(network, tmp_path):
    nd.detect(IMAGE)
    nd.detect(IMAGE, weights=tmp_path / "series.safetensors")
    assert asked_weights == [None, str(tmp_path / "series.safetensors")]


def test_blobs_know_no_probabilities(network):
    image, _ = nd.simulate((64, 80), 12, radius=5, seed=3)
    detection = fitting.detect_all(image, detector="blobs", min_probability=1.0)
    assert network == []
    assert len(detection.droplets) == len(detection.candidates) > 0
    assert (detection.count_mean, detection.count_sd) == (None, None)


@pytest.mark.parametrize(
    "settings", [{"min_probability": 1.1}, {"min_probability": None}, {"detector": "eyes"}, {"weights": 3}]
)
def test_settings_out_of_range(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        nd.detect(IMAGE, **settings)
