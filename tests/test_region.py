"""A region: droplets are looked for in it alone, and counts and densities are of it."""

import json

import imageio.v3 as iio
import numpy as np
import pytest

import napari_droplets as nd
from napari_droplets.cli import main
from napari_droplets.compare import compare, match
from napari_droplets.image_statistics import contrast, pixel_noise
from napari_droplets.images.region import bounds, centers_in, checked_region, mask_file, region_mask
from napari_droplets.inference.api import detect_all
from napari_droplets.inference.local.part import Part, focused, looked_at
from napari_droplets.series.batch import without_masks
from napari_droplets.settings import Settings
from napari_droplets.training.fitted import Look

BOX = (120, 90, 260, 200)
SHAPE = (300, 360)


@pytest.fixture(scope="module")
def slide():
    return nd.simulate(SHAPE, 220, radius=6, seed=1)


def circle(shape=SHAPE, at=(180, 150), radius=70):
    v, u = np.indices(shape)
    return np.hypot(u - at[0], v - at[1]) < radius


def inside_of(mask, droplets):
    return droplets[centers_in(mask, droplets.x, droplets.y)]


# what is taken for a region


def test_a_box_holds_as_many_pixels_as_a_slice():
    assert region_mask((2, 1, 5, 9), (8, 10)).nonzero()[0].tolist() == sorted([*range(1, 8)] * 3)
    assert region_mask((-5.0, -5.0, 2.5, 1.0), (8, 10)).nonzero()[1].tolist() == [0, 1, 2]
    assert region_mask((0, 0, 10, 8), (8, 10)).all()


@pytest.mark.parametrize("region", [[1, 2, 3, 4], (1.0, 2.0, 3.0, 4.0), np.array([1, 2, 3, 4])])
def test_boxes_are_four_numbers(region):
    assert Settings(region=region).region == (1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize("dtype", [bool, np.uint8, float])
def test_a_mask_is_kept_as_text_that_files_can_hold(dtype):
    mask = circle().astype(dtype)
    if dtype is float:
        mask[0, 0] = np.nan  # nothing known is not inside
    settings = Settings(region=mask)
    again = Settings(**json.loads(json.dumps(vars(settings))))
    assert again == settings
    np.testing.assert_array_equal(region_mask(again.region, SHAPE), circle())


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ((1, 2, 3), "box"),
        ((5, 2, 3, 4), "x0 < x1"),
        ((1, 2, np.nan, 4), "box"),
        (np.zeros((4, 5)), "mask is empty"),
        (np.ones((4, 5, 3)), r"shape \(4, 5, 3\)"),
        ("", "box"),
        (["a", "b", "c", "d"], "box"),
        ({"x": 1}, "region"),
    ],
)
def test_what_is_no_region_is_named(region, words):
    with pytest.raises(nd.InputError, match=words):
        Settings(region=region)


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ((400, 10, 500, 90), r"a: no pixel of the image \(360 x 300 pixels\) is in region=400, 10, 500, 90"),
        ((-50, -50, -2, -2), "no pixel of the image"),
        (np.ones((300, 300)), "has 300 x 300 pixels, but the image 360 x 300"),
        ("nowhere.png", "nowhere.png.*no such file"),
    ],
)
def test_a_region_that_is_not_of_the_image_is_named(slide, region, words):
    image = nd.Image(slide[0], "a")
    for work in (nd.detect, nd.fit):
        with pytest.raises(nd.InputError, match=words):
            work(image, region=region)


def test_masks_are_read_from_files(tmp_path):
    gray = np.where(circle(), 7, 0).astype(np.uint8)
    iio.imwrite(tmp_path / "gray.png", gray)
    iio.imwrite(tmp_path / "color.png", np.stack([0 * gray, gray, 0 * gray], -1))
    iio.imwrite(tmp_path / "clear.png", np.dstack([gray * 0 + 9] * 3 + [gray * 20]))
    iio.imwrite(tmp_path / "gray.tif", gray.astype(np.uint16))
    for name in ("gray.png", "color.png", "clear.png", "gray.tif"):
        np.testing.assert_array_equal(region_mask(str(tmp_path / name), SHAPE), circle())
    iio.imwrite(tmp_path / "empty.png", 0 * gray)
    with pytest.raises(nd.InputError, match=r"a: the mask .*empty.png is empty"):
        region_mask(str(tmp_path / "empty.png"), SHAPE, name="a")


def test_of_several_masks_the_one_named_like_the_image_is_taken(tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("a.png", "b_mask.png", "c.png", "c.tif"):
        iio.imwrite(masks / name, np.ones((4, 5), np.uint8))
    (masks / "a.csv").write_text("x,y,radius\n")
    assert mask_file(str(masks), "images/a.tif").name == "a.png"
    assert mask_file(str(masks), "images/b.tif").name == "b_mask.png"
    assert mask_file(str(masks / "*_mask.png"), "images/b.tif").name == "b_mask.png"
    with pytest.raises(nd.InputError, match=r"d.tif: no mask for it in .*masks; name it d.png or d_mask.png"):
        mask_file(str(masks), "images/d.tif")
    with pytest.raises(nd.InputError, match=r"several masks in .*c.png, c.tif"):
        mask_file(str(masks), "images/c.jpg")
    with pytest.raises(nd.InputError, match="no file whose name says which"):
        mask_file(str(masks), None)


def test_masks_beside_images_are_no_images(tmp_path):
    names = ["a.tif", "a_mask.png", "b.tif", "b_mask.png", "mask_of_mine.tif"]
    paths = [tmp_path / name for name in names]
    for path in paths:
        iio.imwrite(path, np.ones((4, 5), np.uint8))
    kept = [paths[0], paths[2], paths[4]]
    assert without_masks(paths, str(tmp_path)) == kept
    assert without_masks(paths, str(tmp_path / "*_mask.png")) == kept
    assert without_masks(paths, str(paths[4])) == paths[:4]
    assert without_masks(paths, (0.0, 0.0, 1.0, 1.0)) == paths
    assert mask_file(str(tmp_path), str(paths[0])) == paths[1]


# where droplets are looked for


@pytest.mark.parametrize("region", [BOX, circle()], ids=["box", "mask"])
def test_what_is_detected_is_in_the_region(slide, region):
    image, truth = slide
    mask = region_mask(checked_region(region), SHAPE)
    result = detect_all(image, region=region)
    droplets = result.droplets
    assert centers_in(mask, result.candidates.x, result.candidates.y).all()
    assert compare(inside_of(mask, truth), droplets).f1 > 0.95
    everywhere = inside_of(mask, nd.detect(image))
    i, j = match(everywhere, droplets)
    assert len(i) >= 0.97 * len(everywhere)
    np.testing.assert_allclose(droplets.x[j], everywhere.x[i], atol=0.5)
    assert result.count_mean == pytest.approx(result.candidates.p_present.sum())
    assert result.region["area_px"] == mask.sum()
    assert result.region["box"] == list(bounds(mask))


def test_what_is_bright_outside_does_not_matter(slide):
    image, truth = slide
    image = 0.75 + 0.05 * np.array(image)
    image[~circle(radius=73)] = 0.0
    droplets = nd.detect(image, region=circle())
    assert compare(inside_of(circle(), truth), droplets).recall > 0.9


def test_a_small_region_costs_only_its_surroundings():
    pixels = np.zeros((2000, 3000, 1), np.float32)
    pixels[::7, ::5] = 1
    part = Part.of(nd.Image(pixels), Settings(region=(1500, 900, 1600, 980), diameter=10))
    assert max(part.image.shape[:2]) <= 280
    assert min(part.image.shape[:2]) >= 228
    part = Part.of(nd.Image(pixels), Settings(region=(1500, 900, 1600, 980), diameter=80))
    assert (part.left, part.top) == (1500 - 160, 900 - 160)
    assert part.image.shape[:2] == (80 + 320, 100 + 320)
    corner = Part.of(nd.Image(pixels), Settings(region=(0, 0, 3000, 2000), diameter=10))
    assert corner.image.shape == pixels.shape


def test_what_is_far_from_a_mask_is_not_seen():
    pixels = np.random.default_rng(0).random((400, 500, 3)).astype(np.float32)
    mask = np.zeros((400, 500), bool)
    mask[10:20, 10:490] = mask[10:390, 10:20] = True
    part = Part.of(nd.Image(pixels), Settings(region=mask, diameter=10))
    assert part.image.hidden[300, 400]
    assert not part.image.hidden[60, 60]
    assert contrast(part.image.pixels[200:, 250:])[0].max() == pytest.approx(0, abs=1e-6)


def test_noise_is_that_of_the_region():
    """A thin region: most of the part around it is filled with one color."""
    rng = np.random.default_rng(0)
    pixels = (0.5 + 0.05 * rng.standard_normal((600, 600, 3))).astype(np.float32)
    mask = np.zeros((600, 600), bool)
    mask[10:14, 10:590] = mask[10:590, 10:14] = True
    image = Part.of(nd.Image(pixels), Settings(region=mask, diameter=10)).image
    assert image.hidden.mean() > 0.5
    assert pixel_noise(image.pixels, image.region) == pytest.approx(0.05, rel=0.05)
    assert not len(nd.detect(pixels, region=mask))


def test_neighbors_that_reach_into_the_region_are_candidates():
    pixels = np.zeros((60, 80, 1), np.float32)
    region = region_mask((20, 0, 80, 60), (60, 80))
    image = nd.Image(pixels, region=region)
    start = nd.Droplets([40.0, 17.0, 8.0, 18.5], [30.0, 30.0, 30.0, 50.0], [6.0, 5.0, 5.0, 6.0])
    seen, needed = focused(image, start)
    assert needed.x.tolist() == [40.0, 17.0, 18.5]
    assert not seen.hidden[region].any()
    near = looked_at(image, nd.Droplets([22.0], [30.0], [6.0])).hidden
    assert not near[30, 15]
    assert near[30, 5]
    with pytest.raises(nd.InputError, match="no droplets found in the region"):
        focused(image, start[[2]])


# fits


@pytest.fixture(scope="module")
def fitted(slide):
    return nd.fit(slide[0], region=BOX, steps=100, types=2)


def test_a_fit_is_in_pixels_of_the_whole_image(slide, fitted):
    _, truth = slide
    mask = region_mask(BOX, SHAPE)
    assert centers_in(mask, fitted.droplets.x, fitted.droplets.y).all()
    result = compare(inside_of(mask, truth), fitted.droplets)
    assert result.f1 > 0.95
    assert result.center_error < 0.1
    assert fitted.reconstruction.shape == (*SHAPE, 3)
    draws = fitted.sample(50)
    np.testing.assert_allclose(draws["x"].mean(0), fitted.droplets.x, atol=0.5)
    assert fitted.summary["image"]["shape"] == [*SHAPE, 3]
    assert fitted.summary["region"]["box"] == list(BOX)
    assert fitted.summary["region"]["area_px"] == mask.sum()
    assert abs(fitted.summary["count_mean"] - len(fitted.droplets)) < 3


def test_a_look_is_learned_from_the_region(fitted):
    look = Look.of(fitted, "slide")
    left, top, right, bottom = fitted.summary["region"]["part"]
    assert look.size == pytest.approx((look.scale * (right - left), look.scale * (bottom - top)))
    expected = fitted.droplets.p_present.sum() / fitted.summary["region"]["area_px"]
    assert look.density * look.scale**2 == pytest.approx(expected)


def test_outside_the_reconstruction_is_the_image(slide, fitted):
    residual = fitted.residual
    mask = region_mask(BOX, SHAPE)
    assert np.isfinite(fitted.reconstruction).all()
    assert (residual[mask] != 0).mean() > 0.9
    assert not residual[:80].any()
    assert residual[mask].std() < 0.05


def test_a_refit_keeps_the_region(slide, fitted, tmp_path):
    fitted.save(tmp_path / "out")
    again = nd.read(tmp_path / "out", image=slide[0])
    assert again.summary["settings"]["region"] == list(BOX)
    table = again.table
    table.loc[0, "x"] += 0.5
    results = [nd.refit(fit, table) for fit in (fitted, again)]
    for result in results:
        assert result.summary["region"] == fitted.summary["region"]
        assert result.reconstruction.shape == fitted.reconstruction.shape
        assert result.table.loc[0, "x"] == table.loc[0, "x"]
        left = np.hypot(table["x"] - table.loc[0, "x"], table["y"] - table.loc[0, "y"]) > 60
        np.testing.assert_allclose(result.table.loc[left, "x"], table.loc[left, "x"], atol=1e-9)
        assert not result.residual[:80].any()
    np.testing.assert_allclose(results[0].table["x"], results[1].table["x"], atol=1e-4)
    table.loc[0, "x"] = 20.0
    with pytest.raises(nd.InputError, match=r"row 0 of the edited table \(x 20, .* outside the region"):
        nd.refit(fitted, table)


def test_given_droplets_outside_are_left_out(slide):
    image, truth = slide
    mask = circle()
    result = nd.fit(image, truth, region=mask, population="given", types=1, steps=30)
    kept = inside_of(mask, truth)
    assert abs(len(result.droplets) - len(kept)) <= 2  # they may move over the border of the region
    with pytest.raises(nd.InputError, match="none of them is in the region"):
        nd.fit(image, truth[truth.x < 50], region=BOX)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_resized_fit_is_of_the_same_region(slide, scale):
    image, truth = slide
    result = nd.fit(image, region=(150, 110, 230, 170), scale=scale, types=1, steps=30, max_seconds=60)
    small = region_mask((150, 110, 230, 170), SHAPE)
    assert centers_in(small, result.droplets.x, result.droplets.y).all()
    assert compare(inside_of(small, truth), result.droplets).recall > 0.7


# counts and densities


def test_densities_are_of_the_region():
    rng = np.random.default_rng(3)
    n = 4000
    droplets = nd.Droplets(rng.uniform(-0.5, 499.5, n), rng.uniform(-0.5, 399.5, n), np.full(n, 3.0))
    true = n / (400 * 500) * 1e6
    for region in (None, (0, 0, 500, 400), (100, 100, 400, 300), (0, 0, 100, 400), circle((400, 500), radius=120)):
        found = nd.statistics(droplets, shape=(400, 500), region=region, draws=50)
        assert found["density"] == pytest.approx(true, rel=0.07)
    whole = nd.statistics(droplets, shape=(400, 500), draws=50)
    same = nd.statistics(droplets, shape=(400, 500), region=(0, 0, 500, 400), draws=50)
    assert same["density"] == pytest.approx(whole["density"], rel=1e-3)
    scaled = nd.Droplets(droplets.x, droplets.y, droplets.radius, pixel_size_um=0.5)
    box = nd.statistics(scaled, shape=(400, 500), region=(100, 100, 400, 300), draws=50)
    assert box["density"] == pytest.approx(4 * true, rel=0.07)


def test_only_the_border_of_the_image_cuts():
    droplets = nd.Droplets([10.0, 50.0, 2.0], [50.0, 50.0, 50.0], [4.0, 4.0, 4.0])
    inner = nd.statistics(droplets, shape=(100, 100), region=(9, 0, 100, 100), draws=50)
    assert inner["number"] == 2
    assert inner["density"] == pytest.approx(2 / (87 * 92) * 1e6)  # of where such a droplet would not be cut
    assert inner.border.startswith("0 droplets")
    outer = nd.statistics(droplets, shape=(100, 100), region=(0, 0, 30, 100), draws=50)
    assert outer.border.startswith("1 droplets")
    with pytest.raises(nd.InputError, match="no droplets in the region"):
        nd.statistics(droplets, shape=(100, 100), region=(70, 70, 90, 90))
    with pytest.raises(nd.InputError, match="shape"):
        nd.statistics(droplets, region=BOX)


# the command line


def as_bytes(image):
    return np.rint(255 * image).astype(np.uint8)


def test_a_box_on_the_command_line(slide, tmp_path, capsys):
    iio.imwrite(tmp_path / "a.png", as_bytes(slide[0]))
    out = tmp_path / "out"
    box = ",".join(map(str, BOX))
    assert main(["fit", str(tmp_path / "a.png"), "-o", str(out), "--detect-only", "--region", box, "--quiet"]) == 0
    summary = json.loads((out / "a" / "summary.json").read_text())
    assert summary["settings"]["region"] == list(BOX)
    assert summary["region"]["area_px"] == 140 * 110
    table = nd.read(out / "a").to_dataframe()
    assert summary["n_droplets"] == len(table)
    assert table["x"].between(119.5, 259.5).all()
    assert "cut_by_border" in table
    whole = table["p_present"].sum()
    assert summary["statistics"]["density"][0] == pytest.approx(whole / (140 * 110) * 1e6, rel=0.05)
    capsys.readouterr()
    assert main(["statistics", str(out / "a")]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("density"))
    assert float(line.split()[1]) == pytest.approx(summary["statistics"]["density"][0], rel=1e-3)


@pytest.mark.parametrize("text", ["1,2,3", "5,5,1,9", "1,2,3,4,5"])
def test_a_wrong_box_on_the_command_line(text, capsys):
    assert main(["fit", "a.png", "-o", "out", "--region", text]) == 2
    assert "X0,Y0,X1,Y1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nowhere.png", ".", "*_mask.png"])
def test_masks_that_are_not_there_are_wrong_use(name, tmp_path, capsys):
    (tmp_path / "images").mkdir()
    image = tmp_path / "images" / "a.png"
    iio.imwrite(image, np.arange(600, dtype=np.uint16).reshape(20, 30))
    assert main(["fit", str(image), "-o", str(tmp_path / "out"), "--region", str(tmp_path / name)]) == 2
    assert "region=" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_batch_with_masks(slide, tmp_path, capsys):
    images, masks, out = tmp_path / "images", tmp_path / "masks", tmp_path / "out"
    images.mkdir()
    masks.mkdir()
    for name in "abc":
        iio.imwrite(images / f"{name}.png", as_bytes(slide[0]))
    iio.imwrite(masks / "a.png", as_bytes(circle()))
    iio.imwrite(masks / "b_mask.png", as_bytes(circle(at=(100, 100), radius=50)))
    command = [
        "batch",
        str(images),
        "-o",
        str(out),
        "--detect-only",
        "--region",
        str(masks),
        "--no-overlay",
        "--resume",
    ]
    assert main(command) == 1  # c has none
    assert "c.png: no mask for it" in capsys.readouterr().err
    areas = [json.loads((out / name / "summary.json").read_text())["region"]["area_px"] for name in "ab"]
    assert areas == [circle().sum(), circle(at=(100, 100), radius=50).sum()]
    iio.imwrite(masks / "a.png", as_bytes(circle(radius=40)))  # another mask: looked at again
    main(command)
    lines = capsys.readouterr().out.splitlines()
    assert "was there already" not in lines[0]
    assert "was there already" in lines[1]
