"""Images that are worked on in blocks: the same droplets as of the whole image, whatever the blocks and the file."""

import platform

import jax
import numpy as np
import pandas as pd
import psutil
import pytest

import napari_droplets as nd
from napari_droplets import lazy
from napari_droplets.errors import InputError
from napari_droplets.images import ImageWarning, as_image, large, picture
from napari_droplets.inference import loop, run
from napari_droplets.inference.api import start_of
from napari_droplets.inference.prepare import prepare
from napari_droplets.inference.steps import evidence
from napari_droplets.inference.steps.gauss_newton import LEAST_NOISE
from napari_droplets.lazy import LazyPixels
from napari_droplets.model import assignment
from napari_droplets.model.assignment import covered_pixels
from napari_droplets.progress import Clock
from napari_droplets.settings import Settings
from napari_droplets.storage import memory

SHIFT = 64
SEAMS = 96
"""Side of the blocks in these tests: no seam of an image lies where the one of the shifted image does."""


@pytest.fixture
def in_blocks(monkeypatch):
    """All images count as large, and blocks are small; call it with False for images in one piece."""

    def switch(on=True):
        monkeypatch.undo()
        if on:
            monkeypatch.setattr(lazy, "LARGE", 1000)
            for module, name in ((lazy, "SIDE"), (large, "SIDE"), (evidence, "SIDE"), (assignment, "SIDE")):
                monkeypatch.setattr(module, name, SEAMS)
            monkeypatch.setattr(assignment, "AT_ONCE", 100)
            monkeypatch.setattr(picture, "SMALL", 0)

    switch()
    yield switch
    monkeypatch.undo()


@pytest.fixture(scope="module")
def photograph():
    """An image of 8 bits with droplets on the seams of the blocks, and their truth."""
    image, truth = nd.simulate((210, 260), 75, radius=5, seed=3)
    return np.rint(255 * image).astype(np.uint8), truth


def same(table, other):
    """The largest difference of two tables in standard deviations; their droplets are the same, in the same order."""
    assert len(table) == len(other)
    assert list(table) == list(other)
    names = [name for name in table if f"{name}_sd" in table]
    off = np.abs(table[names].to_numpy() - other[names].to_numpy())
    return float((off / table[[f"{name}_sd" for name in names]].to_numpy()).max())


@pytest.mark.parametrize("shift", [0, SHIFT])
def test_table_is_that_of_the_whole_image(photograph, in_blocks, shift):
    """As issue 16 asks: the same droplets, none twice, none missing at seams; also after a shift."""
    image = photograph[0][shift:, shift:]
    by_parts = nd.fit(as_image(image), steps=150)
    assert isinstance(by_parts.image.pixels, LazyPixels)
    in_blocks(False)
    whole = nd.fit(image, steps=150)
    assert same(whole.table, by_parts.table) < 0.01
    np.testing.assert_allclose(by_parts.table["p_present"], whole.table["p_present"], atol=1e-4)
    assert by_parts.table["class"].tolist() == whole.table["class"].tolist()
    for name in ("count_mean", "noise_sd", "unexplained", "loss", "rmse"):
        assert by_parts.summary[name] == pytest.approx(whole.summary[name], rel=1e-3), name
    assert by_parts.summary["image"] == whole.summary["image"]  # the hash, too
    np.testing.assert_allclose(np.asarray(by_parts.reconstruction), whole.reconstruction, atol=0.08)
    x, radius = whole.table["x"], whole.table["radius"]
    assert (np.abs((x + SEAMS / 2) % SEAMS - SEAMS / 2) < radius).sum() >= 4  # on a seam: else nothing is tested


def test_detection_is_that_of_the_whole_image(photograph, in_blocks):
    image = photograph[0]
    by_parts = nd.detect(as_image(image)).to_dataframe()
    in_blocks(False)
    pd.testing.assert_frame_equal(by_parts, nd.detect(image).to_dataframe())


def test_lists_of_pixels_are_those_made_at_once(in_blocks):
    rng = np.random.default_rng(5)
    x, y, radius = rng.uniform(-5, 405, 300), rng.uniform(-5, 305, 300), rng.uniform(2, 12, 300)
    for options in ({}, {"most": 24.0}, {"wanted": rng.random(300) < 0.3}):
        by_blocks = covered_pixels(x, y, radius, (300, 400), blur=0.8, **options)
        in_blocks(False)
        at_once = covered_pixels(x, y, radius, (300, 400), blur=0.8, **options)
        in_blocks()
        for a, b in zip(by_blocks, at_once, strict=True):
            np.testing.assert_array_equal(a, b)
    mask = assignment.covered(x, y, radius, (300, 400), 0.8)
    touching = assignment.touching(x, y, radius, mask)
    in_blocks(False)
    np.testing.assert_array_equal(mask, assignment.covered(x, y, radius, (300, 400), 0.8))
    np.testing.assert_array_equal(touching, assignment.touching(x, y, radius, mask))


def look_again(setup, state):
    """What is seen of some droplets again is what is seen of them with all others; these are as last seen."""
    some = np.random.default_rng(1).random(setup.size) < 0.4
    all_again = evidence.look(setup, state._replace(seen=None))[1]
    other = state._replace(mean=state.mean + 0.01 * some[:, None])
    seen = evidence.look(setup, other, some)[1]
    expected = evidence.look(setup, other._replace(seen=None))[1]
    mine = some[state.pixels.row]
    inner = mine & (np.arange(len(mine)) < state.pixels.within)
    np.testing.assert_allclose(seen.colors[inner], expected.colors[inner], atol=1e-6)
    # a block of rows is drawn without the network where all of it is beyond outlines, which depends on the others
    np.testing.assert_allclose(seen.colors[mine], expected.colors[mine], atol=LEAST_NOISE / 4)
    for name in ("information", "gradient", "squares"):
        found, anew = getattr(seen.sums, name), getattr(expected.sums, name)
        np.testing.assert_allclose(found[some], anew[some], rtol=5e-4, atol=1e-4 * np.abs(anew).max())
        np.testing.assert_array_equal(found[~some], getattr(state.seen.sums, name)[~some])
    assert np.abs(expected.sums.gradient[some] - all_again.sums.gradient[some]).max() > 0


def test_more_rows_of_pixels_than_fit_into_an_array_are_passed_over_in_parts(photograph, monkeypatch):
    image, settings = as_image(photograph[0][:, :-7]), Settings()  # else its rows fill the last part, too
    setup, state = prepare(image, start_of(image, None, settings), None, settings)
    state, _ = loop.move_droplets(setup, state, 0.5)
    raw, pixels = evidence.padded(len(setup.anchor), state.mean), state.pixels
    ends = pixels.crowded, pixels.within
    given = raw, setup.anchor, state.shared, state.rows, len(pixels.row), ends, setup.form
    sums, colors = evidence.pass_over_all(*given)
    learned = loop.learn_shared(setup, state, 1e-3).optics.learned
    look_again(setup, state)
    parts = []
    for module in (loop, evidence):
        monkeypatch.setattr(module, "MOST_ROWS", 64)
    monkeypatch.setattr(evidence, "LEAST_ROWS", 512)  # of each part; programs are those of before
    once = evidence.pass_over
    monkeypatch.setattr(evidence, "pass_over", lambda *a: parts.append(a[4]) or once(*a))
    some, drawn = evidence.pass_over_all(*given)
    assert max(parts) == 512 > min(parts)
    assert sum(parts) == len(pixels.row)
    np.testing.assert_allclose(drawn[: len(pixels.row)], colors, atol=1e-6)
    for by_parts, whole in zip(some, sums, strict=True):
        np.testing.assert_allclose(by_parts, whole, rtol=1e-4, atol=1e-5 * np.abs(whole).max())
    look_again(setup, state)
    by_parts = loop.learn_shared(setup, state, 1e-3).optics.learned
    for a, b in zip(jax.tree.leaves(by_parts), jax.tree.leaves(learned), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_in_the_end_what_is_told_is_seen_of_droplets_as_they_are():
    """Not all are looked at again: what was seen of those that are still, as their neighbors are, holds."""
    image, settings = as_image(nd.simulate((160, 180), 60, radius=6, overlap=0.4, seed=4)[0]), Settings()
    setup, state = prepare(image, start_of(image, None, settings), None, settings)
    for _ in range(6):
        state, _ = loop.move_droplets(setup, state, 0.1)
        state = loop.learn_shared(setup, state, 0.02)
    state, info = run._still(setup, loop.listed(setup, state, complete=True), Clock(None), run.LAST_PASSES)
    assert not info.moving.any()
    anew, _ = evidence.look(setup, state._replace(seen=None))
    assert state.noise == pytest.approx(anew.noise, rel=1e-3)
    np.testing.assert_allclose(state.evidence.misfit, anew.misfit, rtol=0.03)
    np.testing.assert_allclose(state.evidence.unexplained, anew.unexplained, atol=0.005)
    np.testing.assert_allclose(state.evidence.gain, anew.gain, rtol=1e-3, atol=1e-3 * anew.gain.max())


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries have no such call")
def test_free_memory_is_given_back():
    held = psutil.Process().memory_info
    arrays = [np.ones(1000) for _ in range(10_000)]  # 80 MB in pieces too small to be given back one by one
    last = arrays[-1]
    del arrays
    before = held().rss
    memory.give_back()
    assert held().rss < before - 60e6
    assert last.sum() == 1000


def files(folder, image):
    """The image as files of which a part can be read, and others."""
    import tifffile

    gray = image[..., 0].astype(np.uint16) * 13
    tifffile.imwrite(folder / "mapped.tif", image, photometric="rgb")
    tifffile.imwrite(folder / "tiled.tif", image, photometric="rgb", tile=(64, 64), compression="zlib")
    tifffile.imwrite(folder / "strips.tif", gray, compression="zlib")
    tifffile.imwrite(folder / "big_endian.tif", gray, byteorder=">")
    planes = np.moveaxis(image, -1, 0)
    tifffile.imwrite(folder / "planar.tif", planes, photometric="rgb", planarconfig="separate", compression="zlib")
    np.save(folder / "array.npy", image)
    from PIL import Image

    Image.fromarray(image).save(folder / "photo.png")
    return sorted(folder.iterdir())


def test_files_are_read_as_when_they_are_read_whole(photograph, in_blocks, tmp_path):
    pytest.importorskip("zarr")
    for path in files(tmp_path, photograph[0]):
        by_parts = as_image(path)
        assert isinstance(by_parts.pixels, LazyPixels), path.name
        in_blocks(False)
        whole = as_image(path)
        in_blocks()
        np.testing.assert_array_equal(np.asarray(by_parts.pixels), whole.pixels, err_msg=path.name)
        assert by_parts.record() == whole.record(), path.name


@pytest.mark.parametrize("kind", ["dask", "zarr", "numpy"])
def test_lazy_arrays_are_read_by_parts_alone(photograph, in_blocks, kind):
    image = photograph[0]
    if kind == "numpy":
        array = image
    elif kind == "zarr":
        zarr = pytest.importorskip("zarr")
        array = zarr.create_array({}, shape=image.shape, chunks=(64, 64, 3), dtype=image.dtype)
        array[:] = image
    else:
        array = pytest.importorskip("dask.array").from_array(image, chunks=(50, 70, 3))
    found = as_image(array)
    np.testing.assert_array_equal(found.pixels[30:99, 100:222], image[30:99, 100:222] / np.float32(255))


def test_what_is_no_picture_is_told_and_left_out(photograph, in_blocks):
    values = photograph[0].astype(np.float32) / 255 * 70_000
    values[50, 60] = 1e7  # a hot pixel
    values[20:60, 100:180] = np.nan
    with pytest.warns(ImageWarning, match="3200 pixels NaN, infinite or of no data: filled in"):
        found = as_image(values)
    assert found.hidden.sum() == 3200
    assert found.hidden[20:60, 100:180].all()
    in_blocks(False)
    with pytest.warns(ImageWarning):
        whole = as_image(values)
    assert found.intensity_range == whole.intensity_range
    seen = ~whole.hidden
    np.testing.assert_array_equal(np.asarray(found.pixels)[seen], whole.pixels[seen])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((300, 200, 3), 7, np.uint8), "constant, every pixel is 7, 7, 7"),
        (np.where(np.arange(200) < 150, np.nan, np.random.default_rng(0).random((300, 200))), "hold no picture"),
    ],
    ids=["constant", "missing"],
)
def test_images_of_nothing_are_refused(in_blocks, values, message):
    with pytest.raises(InputError, match=message):
        as_image(values, name="slide")


def test_result_is_saved_read_refitted_and_drawn(photograph, fitted, in_blocks, tmp_path):
    pytest.importorskip("zarr")
    from napari_droplets.plot.overlay import save_overlay

    image = as_image(photograph[0])
    fit = nd.fit(image, steps=25)
    folder = fit.save(tmp_path / "out")
    assert (folder / "reconstruction.ome.zarr").is_dir()
    assert not (folder / "reconstruction.tif").exists()
    again = nd.read(folder, image=image)
    np.testing.assert_array_equal(again.reconstruction[:], fit.reconstruction[:])
    assert again.residual[:].std() == pytest.approx(fit.summary["rmse"], rel=0.05)
    assert save_overlay(again, tmp_path / "overlay.png").stat().st_size > 10_000

    row = int(np.argmin(np.hypot(fit.droplets.x - SEAMS, fit.droplets.y - SEAMS)))  # at the corner of four blocks
    refitted = nd.refit(again, fit.table.drop(index=row), steps=25)
    assert len(refitted.table) == len(fit.table) - 1
    x, y = round(fit.droplets.x[row]), round(fit.droplets.y[row])
    drawn = refitted.reconstruction
    assert isinstance(drawn, LazyPixels)
    off = np.abs(drawn[:] - fit.reconstruction[:]).max(-1)
    assert off[y, x] > 0.02
    assert off[:10, -10:].max() == 0  # far away it is as it was
    fitted.save(folder)  # that of a small image in its place
    assert (folder / "reconstruction.tif").exists()
    assert not (folder / "reconstruction.ome.zarr").exists()


def test_region_of_a_large_image_is_cut_out_of_it(photograph, in_blocks, monkeypatch):
    region = [20.0, 20.0, 70.0, 80.0]
    image = as_image(photograph[0])
    monkeypatch.setattr(lazy, "LARGE", 40_000)
    fit = nd.fit(image, region=region, steps=25)
    assert 0 < len(fit.table) < 20
    assert fit.table[["x", "y"]].min().min() > 19
    drawn = fit.reconstruction[:]
    np.testing.assert_array_equal(drawn[150:, 150:], image.pixels[150:, 150:])  # elsewhere the image
    assert 0.003 < np.abs(drawn - image.pixels[:])[25:75, 25:65].mean() < 0.05
    monkeypatch.setattr(lazy, "LARGE", 1000)
    with pytest.raises(InputError, match="more than are looked at whole"):
        nd.fit(image, region=region)


def test_number_of_components_is_told_by_the_block_with_most_droplets(photograph, in_blocks, monkeypatch):
    from napari_droplets.inference import number_of_components

    monkeypatch.setattr(number_of_components, "SIDE", 130)
    truth = photograph[1]
    start = truth[(truth.x < 130) | (truth.y >= 130)]  # fewest at the upper right
    image, some = number_of_components.crowded_part(as_image(photograph[0]), start)
    assert image.shape in ((130, 130, 3), (80, 130, 3))
    assert isinstance(image.pixels, np.ndarray)
    top = 130 if image.shape[0] == 80 else 0
    assert len(some) == max(
        ((truth.x < 129.5) & (truth.y < 129.5)).sum(),
        ((truth.x < 129.5) & (truth.y >= 129.5)).sum(),
        ((truth.x >= 129.5) & (truth.y >= 129.5)).sum(),
    )
    for x, y in zip(some.x, some.y, strict=True):  # they lie in the part where they lay in the image
        near = np.hypot(truth.x % 130 - x, truth.y - top - y)
        assert near.min() < 1e-6


def test_fit_of_a_large_image_needs_zarr_and_says_so_at_once(photograph, in_blocks, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'napari-droplets\[zarr\]'"):
        nd.fit(as_image(photograph[0]))
