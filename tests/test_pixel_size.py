import numpy as np
import pytest
import tifffile

from napari_droplets import Droplets, InputError, read_image
from napari_droplets.images import as_image
from napari_droplets.images.pixel_size import checked_size, micrometres, pixel_size

GRAY = np.random.default_rng(0).integers(0, 256, (24, 32), dtype=np.uint8)


@pytest.mark.parametrize(
    "unit",
    [
        "um",
        "µm",
        "μm",
        "UM",
        "micron",
        "Microns",
        "micrometer",
        "micrometre",
        "micrometres",
        "\\u00B5m",
        "\\u03bcm",
        "Âµm",
    ],
)
def test_every_spelling_of_micrometres(unit):
    assert micrometres(unit) == 1


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("nm", 1e-3),
        ("mm", 1e3),
        ("cm", 1e4),
        ("m", 1e6),
        ("Nanometers", 1e-3),
        ("metre", 1e6),
        ("pm", 1e-6),
        ("Å", 1e-4),
    ],
)
def test_other_lengths(unit, expected):
    assert micrometres(unit) == pytest.approx(expected)


@pytest.mark.parametrize("unit", ["pixel", "inch", "", None, "s", "Mm", "reference frame", "dm3"])
def test_what_is_no_length_of_an_object(unit):
    assert micrometres(unit) is None


def test_sizes():
    assert pixel_size(0.65, 0.65) == 0.65
    assert pixel_size(-0.65, 0.65) == 0.65  # a flipped axis
    assert pixel_size(0.65, 1.3) == (0.65, 1.3)
    assert pixel_size(0.65, None) is None
    assert pixel_size(0, 1) is None
    assert checked_size((0.5, 1), "a") == (0.5, 1)
    for wrong in (0, -1, np.nan, "1", (1, 0), (1, 2, 3), True):
        with pytest.raises(InputError, match="not a positive number"):
            checked_size(wrong, "a")


def test_of_files(tmp_path):
    path = tmp_path / "a.ome.tif"
    for unit, size in (("µm", 0.65), ("nm", 650), ("mm", 0.65e-3)):
        metadata = (
            {"axes": "YX"} | {f"PhysicalSize{a}": size for a in "XY"} | {f"PhysicalSize{a}Unit": unit for a in "XY"}
        )
        tifffile.imwrite(path, GRAY, metadata=metadata)
        assert read_image(path).pixel_size_um == pytest.approx(0.65)
    assert read_image(path, pixel_size_um=2.0).pixel_size_um == 2
    path = tmp_path / "a.tif"
    for unit, expected in (("um", 0.25), ("nm", 0.25e-3), ("inch", None), ("pixel", None)):
        tifffile.imwrite(path, GRAY, imagej=True, resolution=(4, 4), metadata={"unit": unit})
        assert read_image(path).pixel_size_um == (expected if expected is None else pytest.approx(expected))
    tifffile.imwrite(path, GRAY, imagej=True, resolution=(4, 2), metadata={"unit": "um"})
    assert read_image(path).pixel_size_um == (0.25, 0.5)
    tifffile.imwrite(path, GRAY, resolution=(300, 300), resolutionunit="INCH")  # a printer's resolution
    assert read_image(path).pixel_size_um is None


def test_pixels_that_are_not_square():
    """Positions are right in either direction, and areas: radius_um is that of a circle of the same area."""
    found = Droplets(x=[10.0, 0.0], y=[20.0, 5.0], radius=[3.0, 4.0], pixel_size_um=(0.5, 2.0))
    table = found.to_dataframe()
    assert table["x_um"].tolist() == [5, 0]
    assert table["y_um"].tolist() == [40, 10]
    np.testing.assert_allclose(np.pi * table["radius_um"] ** 2, np.pi * found.radius**2 * 0.5 * 2.0)
    assert Droplets.from_dataframe(table).pixel_size_um == pytest.approx((0.5, 2.0))
    assert found.scaled(2).pixel_size_um == (0.25, 1)
    image = as_image(np.kron(GRAY, np.ones((2, 2), np.uint8)), pixel_size_um=(0.5, 2))
    assert image.rescaled(0.5).pixel_size_um == (1, 4)


@pytest.mark.parametrize(
    ("writing", "size"),
    [
        ({"extratags": [(34118, "s", 0, "\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 12.5 nm\r\n", True)]}, 0.0125),
        ({"extratags": [(34682, "s", 0, "[Scan]\r\nPixelWidth=5e-9\r\nPixelHeight=6e-9\r\n", True)]}, (0.005, 0.006)),
        ({"extratags": [(51123, "s", 0, '{"PixelSizeUm": 0.65}', True)]}, 0.65),
        ({"extratags": [(51123, "s", 0, '{"PixelSizeUm": 0}', True)]}, None),  # not calibrated
        ({"description": "Aperio Image Library v12\r\n|MPP = 0.2500|AppMag = 40", "metadata": None}, 0.25),
        ({"description": "mine |MPP = 0.2500|", "metadata": None}, None),
    ],
)
def test_of_makers(tmp_path, writing, size):
    tifffile.imwrite(tmp_path / "a.tif", np.arange(2400, dtype=np.uint16).reshape(40, 60), **writing)
    found = read_image(tmp_path / "a.tif").pixel_size_um
    assert found is None if size is None else found == pytest.approx(size)
