"""The overlay picture: right circles in the right place, whatever the image."""

import sys
import threading

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection

from napari_droplets.droplets import Droplets, Fit, Optics
from napari_droplets.errors import InputError
from napari_droplets.images import as_image
from napari_droplets.plot.colors import composition_colors, presence_colors
from napari_droplets.plot.overlay import overlay, save_overlay


def some_fit(shape=(60, 90, 3), n=12, types=3, pixel_size_um=None):
    rng = np.random.default_rng(0)
    h, w, c = shape
    droplets = Droplets(
        rng.uniform(0, w, n),
        rng.uniform(0, h, n),
        rng.uniform(2, 5, n),
        composition=rng.uniform(0, 1, (n, types)),
        pixel_size_um=pixel_size_um,
    )
    image = as_image(rng.uniform(0.2, 0.9, shape), name="slide 3.tif", pixel_size_um=pixel_size_um)
    reconstruction = (image.pixels + 0.1).astype(np.float32)
    losses = np.c_[[50, 100, 150], np.array([3.0, -1.0, -1.2]) * reconstruction.size, [1, 2, 3]]
    return Fit(droplets, reconstruction, Optics({}, {}, types, c, 3.0, "free", "layered", 0.05, 0.7), losses, {},
               {}, image)  # fmt: skip


def titles(figure):
    return [ax.get_title(loc="left") for ax in figure.axes]


def axes(figure, start):
    return next(ax for ax in figure.axes if ax.get_title(loc="left").startswith(start))


def texts(figure):
    return [t.get_text() for ax in figure.axes for t in ax.texts]


def test_circles_are_the_droplets_in_the_colors_of_their_composition():
    fit = some_fit()
    circles = [c for c in axes(overlay(fit), "image").collections if isinstance(c, EllipseCollection)][-1]
    np.testing.assert_allclose(circles.get_offsets(), np.c_[fit.droplets.x, fit.droplets.y])
    np.testing.assert_allclose(circles.get_widths(), 2 * fit.droplets.radius)
    np.testing.assert_allclose(circles.get_edgecolor()[:, :3], composition_colors(fit.droplets.composition))


def test_drawn_circles_and_pixels_are_where_the_table_says():
    """Looked up in the rendered picture, so that extent, orientation and half pixels count as well."""
    gray = np.full((40, 60, 3), 0.5)
    gray[28:31, 39:42] = 1  # a white square centered at x 40, y 29
    found = Droplets([15.0], [10.0], [6.0], composition=[[0.0, 1.0, 0.0]])
    figure = overlay((as_image(gray), found))
    figure.canvas.draw()
    ax = axes(figure, "image")
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    rows, columns = np.indices(picture.shape[:2])
    x, y = ax.transData.inverted().transform(np.c_[columns.ravel() + 0.5, picture.shape[0] - rows.ravel() - 0.5]).T
    red, green, blue = picture.reshape(-1, 3).T
    circle = (red > 190) & (green > 60) & (green < 115) & (blue < 40) & (y < 35) & (y > 0) & (x > 0) & (x < 59)
    assert circle.sum() > 200
    np.testing.assert_allclose(np.hypot(x[circle] - 15, y[circle] - 10), 6, atol=0.2)
    square = (red > 250) & (green > 250) & (np.abs(x - 40) < 4) & (np.abs(y - 29) < 4)
    np.testing.assert_allclose([x[square].mean(), y[square].mean()], [40, 29], atol=0.05)


def test_title_says_name_count_and_rmse():
    title = overlay(some_fit(n=12))._suptitle.get_text()
    assert "slide 3.tif" in title
    assert "12 droplets" in title
    assert "RMSE 0.1000" in title


def test_residual_is_symmetric_about_zero():
    shown = axes(overlay(some_fit()), "residual").images[0]
    assert shown.norm.vmin == -shown.norm.vmax
    np.testing.assert_allclose(shown.get_array(), -0.1, atol=1e-6)


@pytest.mark.parametrize(("size", "unit"), [(None, "px"), (0.5, "µm")])
def test_units_follow_the_pixel_size(size, unit):
    fit = some_fit(pixel_size_um=size)
    figure = overlay(fit)
    assert axes(figure, "droplet sizes").get_xlabel() == f"diameter ({unit})"
    median = np.median(2 * fit.droplets.radius) * (size or 1)
    assert any(f"median {median:.3g} {unit}" in t for t in texts(figure))
    assert any(t == "5 µm" for t in texts(figure)) == (size is not None)  # 90 px are 45 µm; a sixth, rounded down


def test_scale_bar_has_the_length_it_says():
    ax = axes(overlay(some_fit(pixel_size_um=0.5)), "image")
    widths = [p.get_width() for p in ax.patches if p.get_transform() == p.get_patch_transform() + ax.transAxes]
    assert any(np.isclose(w * 90 * 0.5, 5) for w in widths)


@pytest.mark.parametrize("shape", [(60, 90, 1), (300, 20, 3), (17, 400, 3), (1203, 2501, 1)])
@pytest.mark.parametrize("n", [0, 1, 30])
def test_any_shape_and_number(tmp_path, shape, n):
    path = save_overlay(some_fit(shape, n, types=2), tmp_path / "overlay.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_detected_droplets_without_a_fit():
    fit = some_fit()
    found = Droplets(fit.droplets.x, fit.droplets.y, fit.droplets.radius)
    figure = overlay((fit.image, found))
    assert not any(t.startswith(("residual", "loss", "reconstruction")) for t in titles(figure))
    assert "RMSE" not in figure._suptitle.get_text()
    assert axes(figure, "image").get_legend() is None


def test_detected_droplets_are_colored_by_how_probable_they_are():
    fit = some_fit(n=3)
    found = Droplets(fit.droplets.x, fit.droplets.y, fit.droplets.radius, p_present=[0.5, 0.8, 1.0])
    panel = axes(overlay((fit.image, found)), "image")
    circles = [c for c in panel.collections if isinstance(c, EllipseCollection)][-1]
    np.testing.assert_allclose(circles.get_edgecolor()[:, :3], presence_colors(found.p_present))
    markers = [line.get_color() for line in panel.get_legend().get_lines()]
    np.testing.assert_allclose(markers, presence_colors(np.array([0.5, 1.0])))


def test_close_up_shows_the_most_crowded_place():
    rng = np.random.default_rng(0)
    crowd = Droplets(rng.uniform(300, 340, 50), rng.uniform(200, 230, 50), np.full(50, 2.0))
    sparse = Droplets(rng.uniform(0, 500, 20), rng.uniform(0, 300, 20), np.full(20, 2.0))
    both = Droplets(np.r_[crowd.x, sparse.x], np.r_[crowd.y, sparse.y], np.r_[crowd.radius, sparse.radius])
    figure = overlay((as_image(rng.uniform(0, 1, (300, 500))), both))
    ax = axes(figure, "close-up")
    assert ax.get_xlim()[0] < 305
    assert ax.get_xlim()[1] > 335
    assert ax.get_ylim()[1] < 205
    assert ax.get_ylim()[0] > 225


def test_without_the_image_the_message_says_what_to_do():
    fit = some_fit()
    with pytest.raises(InputError, match="read"):
        overlay(Fit(fit.droplets, fit.reconstruction, fit.optics, fit.losses, {}, {}))


def test_unwritable_path_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        save_overlay(some_fit(), tmp_path / "missing folder" / "overlay.png")


def test_works_in_a_thread_and_without_pyplot():
    done = []
    before = "matplotlib.pyplot" in sys.modules
    thread = threading.Thread(target=lambda: done.append(overlay(some_fit()).canvas.draw()))
    thread.start()
    thread.join(30)
    assert done
    assert ("matplotlib.pyplot" in sys.modules) == before
