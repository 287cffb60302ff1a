"""What other libraries get is what the fit holds; tests of libraries that are not installed are skipped."""

import numpy as np
import pytest

import napari_droplets as nd


def labelled(n=5):
    rng = np.random.default_rng(0)
    labels = {"class": np.array(["acid", None, "base", "acid", "base"], object), "class_p": np.full(n, 0.9)}
    return nd.Droplets(*rng.uniform(1, 9, (3, n)), composition=rng.uniform(size=(n, 3)), labels=labels)


@pytest.mark.filterwarnings("ignore:.*ArviZ is undergoing:FutureWarning")
def test_arviz(fitted):
    arviz = pytest.importorskip("arviz")
    data = fitted.to_arviz(200, seed=3)
    posterior = data["posterior"] if hasattr(data, "children") else data.posterior
    drawn = fitted.sample(200, seed=3)
    n = len(fitted.droplets)
    assert dict(posterior.sizes) == {"chain": 1, "draw": 200, "droplet": n, "component": 3}
    np.testing.assert_array_equal(posterior["composition"].values[0], drawn["composition"])
    radius = posterior["radius"].mean(("chain", "draw")).values
    assert np.abs(radius - fitted.droplets.radius).max() < 4 * np.nanmax(fitted.droplets.radius_sd) / np.sqrt(200)
    table = arviz.summary(data, var_names=["radius"], kind="stats")
    assert len(table) == n


def test_anndata(tmp_path):
    anndata = pytest.importorskip("anndata")
    droplets = labelled()
    found = nd.to_anndata(droplets)
    np.testing.assert_allclose(found.X, droplets.composition, rtol=1e-6)
    np.testing.assert_array_equal(found.obsm["spatial"][:, 1], droplets.y)
    assert found.obs["class"].tolist()[0] == "acid"
    found.write_h5ad(tmp_path / "droplets.h5ad")
    assert anndata.read_h5ad(tmp_path / "droplets.h5ad").shape == (5, 3)
    assert nd.to_anndata(nd.Droplets([1.0], [1.0], [1.0])).shape == (1, 0)


def test_spatialdata():
    pytest.importorskip("spatialdata")
    droplets = labelled()
    found = nd.to_spatialdata(droplets)
    np.testing.assert_allclose(found.shapes["droplets"]["radius"], droplets.radius)
    assert found.tables["table"].shape == (5, 3)


@pytest.mark.parametrize(("library", "call"), [("anndata", nd.to_anndata), ("spatialdata", nd.to_spatialdata)])
def test_what_is_not_installed_is_said(monkeypatch, library, call):
    import sys

    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(nd.InputError, match=f"pip install {library}"):
        call(labelled())
