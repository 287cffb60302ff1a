"""Samples of many images: who belongs where, one set of classes for all, and intervals that hold."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import napari_droplets as nd
from napari_droplets.composition.classes import measured_of, same_classes
from napari_droplets.composition.pooled import classify_pooled
from napari_droplets.samples.groups import groups_of
from napari_droplets.samples.nested import nested_means
from napari_droplets.samples.results import results_in
from napari_droplets.tables import read_table

NAMES = ["dry_A_1.tif", "dry_A_2.tif", "dry_B_1.tif", "wet_A_1.tif", "wet_B_1.tif", "wet_B_2.ome.tif"]


def test_groups_from_a_pattern():
    table = groups_of(NAMES, "{condition}_{sample}_*")
    assert table["condition"].tolist() == ["dry"] * 3 + ["wet"] * 3
    assert table["sample"].tolist() == ["A", "A", "B", "A", "B", "B"]
    assert groups_of(["wet_10min_3.tif"], "{sample}_{time}").iloc[0].tolist() == ["wet_10min_3.tif", "10min_3", "wet"]
    assert groups_of(NAMES, None).columns.tolist() == ["image"]
    with pytest.raises(nd.InputError, match=r"wet_10min_3\.tif.*does not match"):
        groups_of(["wet_10min_3.tif"], "{condition}-{sample}")
    with pytest.raises(nd.InputError, match=r"none of \{sample\}"):
        groups_of(NAMES, "{slide}_*")


@pytest.mark.parametrize("ending", [".csv", ".xlsx"])
def test_groups_from_a_table(tmp_path, ending):
    """Rows in any order, names with or without their ending or folder, numbers as they are written."""
    path = tmp_path / f"plan{ending}"
    rows = [("slides/a.tif", "01", "2 min"), ("b", "01", "10 min"), ("c.tif", "02", "10 min"), ("z.tif", "9", "0")]
    table = pd.DataFrame(rows, columns=["File", "Sample", "Time"])
    if ending == ".csv":
        table.to_csv(path, index=False, sep=";")
    else:
        pytest.importorskip("openpyxl")
        table.to_excel(path, index=False)
    found = groups_of(["c.tif", "b.tif", "a.tif"], path)
    assert found["sample"].tolist() == ["02", "01", "01"]
    assert found["time"].tolist() == ["10 min", "10 min", "2 min"]
    with pytest.raises(nd.InputError, match=r"no row for the image d\.tif"):
        groups_of(["d.tif"], path)
    with pytest.raises(nd.InputError, match="has a column `image`"):
        groups_of(["a.tif"], table.rename(columns={"File": "Slide"}))
    twice = pd.concat([table, table.assign(Sample="03")])
    with pytest.raises(nd.InputError, match="two rows that do not agree"):
        groups_of(["a.tif"], twice)
    with pytest.raises(nd.InputError, match="no such file"):
        groups_of(["a.tif"], tmp_path / "none.csv")


def test_means_of_a_normal_model():
    """Without differences between images the mean is that of least squares; with large ones that of the images."""
    y, v = np.array([1.0, 2.0]), np.array([0.01, 0.04])
    one = nested_means(y, v, np.array([0, 1]), np.array([0, 1]), scale=1.0, draws=20_000)
    assert not one.tau_image.any()
    assert not one.tau_sample.any()
    assert one.group.mean(0) == pytest.approx(y, abs=0.01)
    assert one.group.std(0) == pytest.approx(np.sqrt(v), rel=0.05)
    y = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    many = nested_means(y, np.full(5, 1e-4), np.zeros(5, int), np.zeros(1, int), scale=10.0, draws=20_000)
    assert many.sample.mean() == pytest.approx(2, abs=0.03)
    low, high = np.quantile(many.sample, [0.025, 0.975])
    # under a flat prior of tau Student's t with I - 2 degrees of freedom: integrate tau out by hand
    assert (high - low) / 2 == pytest.approx(3.182 * np.sqrt(10 / (5 * 3)), rel=0.1)
    shared = nested_means(y, np.full(5, 1e-4), np.zeros(5, int), np.arange(1), scale=1.0, shared_variance=25.0)
    assert shared.group.std() > 4.5


def test_intervals_hold_differences_between_images_and_samples():
    rng = np.random.default_rng(5)
    held = {"group": [], "sample": [], "difference": []}
    sample, group = np.repeat(np.arange(6), 3), np.repeat([0, 1], 3)
    for _ in range(60):
        true = rng.normal(size=6) * 0.3 + np.array([0, 1])[group]
        y = true[sample] + np.hypot(0.3, 0.1) * rng.normal(size=18)
        found = nested_means(y, np.full(18, 0.01), sample, group, scale=0.5, draws=1000)
        for name, draws, value in (
            ("group", found.group, np.array([0, 1])),
            ("sample", found.sample, true),
            ("difference", found.group[:, 1:] - found.group[:, :1], np.ones(1)),
        ):
            low, high = np.quantile(draws, [0.025, 0.975], axis=0)
            held[name] += ((low < value) & (value < high)).tolist()
    assert {name: 0.89 < np.mean(one) <= 1 for name, one in held.items()} == dict.fromkeys(held, True)
    alone = nested_means(y, np.full(18, 0.01), sample, np.arange(6), scale=0.5).tau_sample
    assert not alone.any()


MEANS = np.array([[0.2, 0.3, 0.7], [0.5, 0.7, 0.3], [0.8, 0.3, 0.5]])


def slides(shares, n=150, seed=0):
    """Measured compositions of droplets in three clouds, of one slide for each row of shares, and their classes."""
    rng = np.random.default_rng(seed)
    found, true = [], []
    for share in shares:
        cloud = rng.choice(3, n, p=share)
        draws = MEANS[cloud] + 0.05 * rng.normal(size=(n, 3)) + 0.03 * rng.normal(size=(40, n, 3))
        found.append(measured_of(draws, None))
        true.append(cloud)
    return found, true


def test_pooled_classes_are_the_same_in_all_images():
    """An image of two of the classes has the third one, too, and its few droplets."""
    images, true = slides([[0.6, 0.4, 0], [0.55, 0.4, 0.05], [0.5, 0.1, 0.4]])
    found = classify_pooled(images, names=["acid", "base", "product"])
    for one, cloud in zip(found.images, true, strict=True):
        assert one.parameters["names"] == ["acid", "base", "product"]
        assert (one.label == cloud).mean() > 0.97  # in the order of frequency, which is that of the clouds
        assert one.columns["class"][0] == ["acid", "base", "product"][one.label[0]]
        assert one.columns["class_p_base"] == pytest.approx(one.probabilities[:, 1])
    weights = np.array([one.parameters["weight"] for one in found.images])
    assert weights[0, 2] < 0.02
    assert weights[2] == pytest.approx([0.5, 0.1, 0.4], abs=0.12)
    assert (found.shared_variance >= 0).all()
    with pytest.raises(nd.InputError, match="2 names for 3 classes"):
        classify_pooled(images, 3, ["acid", "base"])


def test_names_stay_with_their_classes_when_images_are_added():
    images, _ = slides([[0.6, 0.3, 0.1]])
    first = classify_pooled(images, names=["acid", "base", "product"])
    more, _ = slides([[0.05, 0.05, 0.9]] * 3, seed=1)  # the last class is now the most frequent
    then = classify_pooled([*images, *more], before=first.parameters, classes=3)
    assert then.parameters["names"] == ["acid", "base", "product"]
    assert np.asarray(then.parameters["mean"]) == pytest.approx(np.asarray(first.parameters["mean"]), abs=0.05)
    assert then.parameters["weight"][2] > 0.5
    told = same_classes(then.parameters, measured_of(np.zeros((5, 2, 3)))).columns["class"]
    assert told[0] in ("acid", "base", "product")


@pytest.fixture(scope="module")
def series(tmp_path_factory, fitted):
    """Results of five images, made of one fit: those of the wet condition have pixels twice as large."""
    out = tmp_path_factory.mktemp("series") / "out"
    rows = []
    for i, name in enumerate(NAMES[:5]):
        side = 1.0 if name.startswith("wet") else 0.5
        folder = out / f"image {i}"
        replace(fitted, droplets=replace(fitted.droplets, pixel_size_um=side)).save(folder)
        rows.append({"image": name, "folder": folder.name, "error": None})
    rows.append({"image": "broken.tif", "folder": None, "error": "not an image"})
    pd.DataFrame(rows).to_csv(out / "summary.csv", index=False)
    return out


@pytest.fixture(scope="module")
def compared(series):
    shares = nd.compare_samples(series, "{condition}_{sample}_*", class_names=["acid", "base"])
    return series, shares


def test_tables_of_the_series_agree_with_those_of_its_images(compared):
    out, found = compared
    merged = pd.read_csv(out / "droplets.csv")
    assert merged.columns[:4].tolist() == ["image", "condition", "sample", "x"]
    assert set(merged["class"]) == {"acid", "base"}
    for picture in results_in(out).pictures:
        own = read_table(picture.folder / "droplets.csv").to_dataframe()
        rows = merged[merged["image"] == picture.image].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows[own.columns.tolist()], own, check_dtype=False)
        also = pd.read_parquet(picture.folder / "droplets.parquet")
        assert also["class"].tolist() == own["class"].tolist()
        assert [row["name"] for row in picture.summary["classes"]] == ["acid", "base"]
        assert set(picture.summary["statistics"]["classes"]) <= {"acid", "base"}
        fit = nd.read(picture.folder)
        assert fit.optics.classes["names"] == ["acid", "base"]
    assert found.notes == ["broken.tif: not an image"]


def test_conditions_differ_by_what_they_differ(compared):
    _, found = compared
    rows = found.table[found.table["quantity"] == "D50"].groupby("level")
    dry, wet = rows.get_group("condition")["value"]
    assert wet == pytest.approx(2 * dry, rel=0.02)
    sizes = found.differences.set_index("quantity").loc["D50"]
    assert (sizes["group"], sizes["reference"]) == ("wet", "dry")
    assert sizes["ratio"] == pytest.approx(2, rel=0.03)
    assert sizes["ratio_low"] < 2 < sizes["ratio_high"]
    assert sizes["difference"] == pytest.approx(dry, rel=0.05)
    assert sizes["p_larger"] > 0.97
    assert sizes["holds"] == "droplets, images, samples"
    assert rows.size().to_dict() == {"condition": 2, "sample": 4, "image": 5}
    rows = found.proportions("sample")
    assert rows.groupby("group")["proportion"].sum().to_numpy() == pytest.approx(np.ones(4))
    assert nd.plot.proportions(None, found.proportions()).get_xticklabels()[1].get_text() == "wet"


def test_comparing_again_changes_nothing_and_remembers(compared):
    out, found = compared
    before = {p: p.stat().st_mtime_ns for p in out.glob("*/*")}
    again = nd.compare_samples(out)
    pd.testing.assert_frame_equal(again.table, found.table)
    assert {p: p.stat().st_mtime_ns for p in out.glob("*/*")} == before
    renamed = nd.compare_samples(out, class_names=["salt", "water"])
    assert set(renamed.table["class"]) == {"", "salt", "water"}
    with pytest.raises(nd.InputError, match="reference='moist'"):
        nd.compare_samples(out, reference="moist")


def test_optics_of_their_own_have_no_common_classes(compared, tmp_path):
    out = shutil.copytree(compared[0], tmp_path / "out")
    folder = out / "image 0"
    fit = nd.read(folder)
    fit.optics.weights["Dense_0.kernel"] += 1
    fit.save(folder)
    with pytest.raises(nd.InputError, match="fitted with several optics"):
        nd.compare_samples(out, class_names=["acid", "base"])
    found = nd.compare_samples(out)
    assert "of its own" in "".join(found.notes) or "optics" in "".join(found.notes)
    assert "proportion" not in set(found.table["quantity"])


def test_images_of_a_stack_and_damaged_results(compared, tmp_path):
    source = next(compared[0].glob("image 0"))
    out = tmp_path / "out"
    for i in range(2):
        shutil.copytree(source, out / f"stack/frame_{i}")
    pictures = [{"frame": i, "folder": f"frame_{i}", "n_droplets": 26, "error": None} for i in range(2)]
    (out / "stack/summary.json").write_text(json.dumps({"pictures": pictures, "image": {"name": "stack.tif"}}))
    table = read_table(source / "droplets.csv").to_dataframe()
    pd.concat([table.assign(frame=i) for i in range(2)]).to_csv(out / "stack/droplets.csv", index=False)
    shutil.copytree(source, out / "broken")
    (out / "broken/droplets.csv").write_text("x,y\n1,2\n")
    found = nd.compare_samples(out, class_names=["acid", "base"])
    assert any("broken" in note or "radius" in note for note in found.notes)
    merged = pd.read_csv(out / "droplets.csv")
    assert merged["frame"].tolist() == [0] * len(table) + [1] * len(table)
    stack = read_table(out / "stack/droplets.csv").to_dataframe()
    assert stack["class"].tolist() == merged["class"].tolist()
    with pytest.raises(nd.InputError, match="no results"):
        nd.compare_samples(tmp_path)
