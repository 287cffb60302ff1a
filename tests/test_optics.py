"""The optics network, by its formula."""

import jax
import numpy as np
import pytest

from napari_droplets.model import optics

RNG = np.random.default_rng(0)


def test_number_of_parameters():
    shapes = optics.weight_shapes(channels=3, types=10)
    assert sum(int(np.prod(s)) for s in shapes.values()) == 1714
    assert list(shapes) == sorted(shapes)
    assert {k: v.shape for k, v in optics.initial_weights(0, 3, 10).items()} == shapes


def test_network_equals_its_formula():
    weights = {k: RNG.normal(size=s).astype(np.float32) for k, s in optics.weight_shapes(3, 2).items()}
    inputs = RNG.normal(size=(5, 6)).astype(np.float32)
    inputs[:, 5] = [0.3, 0.8, 1.0, 1.7, 4.0]  # radii
    composition = RNG.uniform(size=(5, 2)).astype(np.float32)
    x = np.c_[inputs[:, :5], optics.SIZE_INPUT * np.log(inputs[:, 5])]
    for i in range(3):
        x = x @ weights[f"Dense_{i}.kernel"] + weights[f"Dense_{i}.bias"]
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        x = np.maximum(x * weights[f"LayerNorm_{i}.scale"] + weights[f"LayerNorm_{i}.bias"], 0)
    looks = (x @ weights["Dense_3.kernel"] + weights["Dense_3.bias"]).reshape(5, 3, 3)  # bare, and of each component
    want = looks[:, 0] + np.einsum("nkc,nk->nc", looks[:, 1:], composition)
    want *= inputs[:, 5:] ** weights["thickness"]
    got = jax.jit(optics.color_change)(weights, inputs.T, composition.T).T
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4)


def test_initial_weights_have_the_variance_of_lecun():
    kernel = optics.initial_weights(0, 3, 10)["Dense_0.kernel"]
    assert kernel.std() * np.sqrt(len(kernel)) == pytest.approx(1, abs=0.1)
    assert not np.array_equal(kernel, optics.initial_weights(1, 3, 10)["Dense_0.kernel"])
