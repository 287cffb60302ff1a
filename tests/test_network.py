import jax
import numpy as np
import pytest

from napari_droplets.detection import network
from napari_droplets.errors import InputError

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def params():
    start = network.init(3)
    rng = np.random.default_rng(1)  # fresh weights say nearly the same everywhere
    return jax.tree.map(lambda a: a + 0.05 * rng.standard_normal(a.shape).astype(np.float32), start)


def test_one_prediction_per_cell_that_starts_as_a_rare_droplet_of_typical_size():
    out = network.apply(network.init(0), RNG.standard_normal((2, 32, 48, 3), np.float32))
    assert out.shape == (2, 16, 24, network.OUTPUTS)
    assert np.all(out[..., 0] < -2)
    np.testing.assert_allclose(np.exp(out[..., 3]).mean(), network.TYPICAL_RADIUS, rtol=0.5)


def test_masked_padding_changes_nothing(params):
    image = RNG.standard_normal((1, 32, 48, 3), np.float32)
    padded = 7 * RNG.standard_normal((1, 64, 64, 3), np.float32)
    padded[:, :32, :48] = image
    inside = np.zeros((1, 64, 64, 1), np.float32)
    inside[:, :32, :48] = 1
    alone = network.apply(params, image)
    np.testing.assert_allclose(network.apply(params, padded, inside)[:, :16, :24], alone, atol=2e-4)
    assert np.abs(network.apply(params, padded)[:, :16, :24] - alone).max() > 0.01


@pytest.mark.parametrize("channels", [1, 3])
def test_what_the_network_sees_does_not_depend_on_exposure(channels):
    image = RNG.random((40, 50, channels), np.float32)
    seen = network.normalized(image)
    assert seen.shape == (40, 50, 3)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(network.normalized(0.3 * image + 0.2), seen, atol=1e-4)
    np.testing.assert_allclose(np.median(seen, (0, 1)), 0, atol=1e-6)


def test_a_flat_image_is_not_blown_up():
    assert np.abs(network.normalized(0.5 + 1e-5 * RNG.standard_normal((20, 20, 3)))).max() < 0.1


def test_weights_come_back_from_their_file(tmp_path, params):
    path = tmp_path / "weights.safetensors"
    network.write_weights(params, path, {"steps": "7"})
    back, about = network.read_weights(path)
    assert about == {"steps": "7"}
    network.write_weights(params, path, {"steps": "8"})
    assert network.read_weights(path)[1] == {"steps": "8"}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3), params, back)


def test_files_that_are_no_weights_are_named(tmp_path):
    with pytest.raises(InputError, match="missing"):
        network.read_weights(tmp_path / "missing.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(InputError, match=r"text\.safetensors: cannot be read"):
        network.read_weights(tmp_path / "text.safetensors")
    network.write_weights({"other": np.zeros(3)}, tmp_path / "other.safetensors", {})
    with pytest.raises(InputError, match="another network"):
        network.read_weights(tmp_path / "other.safetensors")
