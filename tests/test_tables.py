"""Tables as people bring them, and as other programs want them."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_droplets import Droplets, InputError, export, read
from napari_droplets.plugin.files.readers import get_reader
from napari_droplets.tables import is_droplets_table, read_frame, read_table
from napari_droplets.tables.writing import label_image

ROWS = [(10.5, 20.25, 5.5), (100.75, 60.5, 8.0), (200.0, 150.5, 6.25)]
HEAD = "x,y,radius\n"


def text(head="x,y,radius", row="{x},{y},{r}", end="\n"):
    return end.join([head, *(row.format(i=i, x=x, y=y, r=r, d=2 * r) for i, (x, y, r) in enumerate(ROWS)), ""])


def write(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


def assert_same(found):
    np.testing.assert_allclose(np.stack([found.x, found.y, found.radius], -1), ROWS, atol=1e-9)


GERMAN = text().replace(",", ";").replace(".", ",")


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (text(), "utf-8"),
        (text(), "utf-8-sig"),
        (GERMAN, "utf-8"),
        (GERMAN.replace("\n", "\r\n"), "utf-8-sig"),
        (GERMAN.replace(";", "\t"), "utf-16"),
        (text().replace(",", "|"), "utf-8"),
        ("sep=;\n" + text().replace(",", ";"), "utf-8"),
        ("\n\n" + text() + ",,\n,,\n", "utf-8"),
        ("# of monday, by me\n#\n" + text(), "utf-8"),
        ("# " + text(), "utf-8"),
        (text("#,x,y,radius", "{i},{x},{y},{r}"), "utf-8"),
        (text(" x   y radius", "{x}  {y} {r}"), "utf-8"),
        (text("X, Y, Radius"), "utf-8"),
        (text("x [px],y (pixel),radius [px]"), "utf-8"),
        (text("x,y,diameter", "{x},{y},{d}"), "utf-8"),
        (text(",x,y,radius", "{i},{x},{y},{r}"), "utf-8"),
        (text("x,y,radius,", "{x},{y},{r},"), "utf-8"),
        (text("x,y,radius,radius", "{x},{y},{r},{r}"), "utf-8"),
        (text("index,axis-0,axis-1,radius", "{i}.0,{y},{x},{r}"), "utf-8"),
        (text("label,centroid-0,centroid-1,equivalent_diameter_area", "{i},{y},{x},{d}"), "utf-8"),
    ],
)
def test_recognized(tmp_path, content, encoding):
    path = write(tmp_path / "my droplets.csv", content, encoding)
    assert_same(read_table(path))
    [(data, attributes, _)] = get_reader(str(path))(str(path))
    np.testing.assert_allclose(data, [(y, x) for x, y, _ in ROWS])
    np.testing.assert_allclose(attributes["size"], [2 * r for *_, r in ROWS])


def test_programs(tmp_path):
    rows = "".join(f"{i},{np.pi * r * r:.6f},120,{x + 0.5},{y + 0.5}\n" for i, (x, y, r) in enumerate(ROWS))
    found = read_table(write(tmp_path / "Results.csv", " ,Area,Mean,X,Y\n" + rows))
    np.testing.assert_allclose(np.stack([found.x, found.y, found.radius], -1), ROWS, atol=1e-5)
    assert found.labels["Mean"].tolist() == [120] * 3
    head = "LABEL,POSITION_X,POSITION_Y,FRAME,RADIUS\nLabel,X,Y,Frame,R\nLabel,X,Y,Frame,R\n,({u}),({u}),,({u})\n"
    rows = "".join(f"ID{i},{x},{y},{i},{r}\n" for i, (x, y, r) in enumerate(ROWS))
    found = read_table(write(tmp_path / "spots.csv", head.format(u="pixel") + rows))
    assert_same(found)
    assert found.labels["frame"].tolist() == [0, 1, 2]
    with pytest.raises(InputError, match=r"spots\.csv: positions are in micron, not in pixels"):
        read_table(write(tmp_path / "spots.csv", head.format(u="micron") + rows))
    with pytest.raises(InputError, match="trackpy's size is a radius of gyration"):
        read_table(write(tmp_path / "features.csv", ",y,x,mass,size,ecc,frame\n0,1,2,3,4,5,6\n"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("a,b\n1,2\n", "no column x, y, radius.*its columns, separated by commas, are a, b"),
        ("x [µm],y [µm],radius [µm]\n1,2,3\n", "is not in pixels"),
        (HEAD + "1,2,3\nmean,,6.5\n", "column x is not numeric: 'mean' in line 3"),
        (HEAD + "1,2,-3\n", "radius in row 0"),
        ("x,y,radius,radius\n1,2,3,4\n", "two columns radius"),
        ("", "it is empty"),
        (HEAD + "1,5,2,3\n", "line 2 has more cells than the 3 of the heading, separated by commas; .*decimal commas"),
        ("x;y;radius\n10,5;2;3\n7.25;2;3\n", "column x is not numeric: '10,5' in line 2"),
        ("centroid-0,centroid-1,centroid-2,area\n1,2,3,4\n", "regions of a volume"),
        ("index,axis-0,axis-1\n0,1,2\n", "no column radius"),
    ],
)
def test_refused_with_the_reason(tmp_path, content, says):
    path = write(tmp_path / "a droplets.csv", content)
    with pytest.raises(InputError, match=rf"a droplets\.csv: .*{says}"):
        read(path)


def test_own_columns_stay_to_the_letter(tmp_path):
    own = {
        "well": ["001", "002", "010"],
        "label": ["NA", "None", "NaCl"],
        "note": ["null", "", "1e5"],
        "plate": ["1e5", "2e5", "3e5"],
        "count": [1, 2, 30],
        "serial": ["123456789012345678901", "5", "6"],
        "ratio": [0.5, 1.25, 2.0],
        "good": [True, False, True],
        "axis_major_length": [11.5, 12.0, 13.0],
    }
    table = pd.DataFrame([dict(zip("xy", row[:2], strict=True)) | {"radius": row[2]} for row in ROWS]).assign(**own)
    path = tmp_path / "my droplets.csv"
    table.to_csv(path, index=False)
    found = read_table(path)
    assert {name: values.tolist() for name, values in found.labels.items()} == own
    again = tmp_path / "again droplets.csv"
    export(found, again)
    assert again.read_text() == path.read_text()
    [(data, *_)] = get_reader(str(path))(str(path))
    assert data.shape == (3, 2)  # axis_major_length is no axis


def test_classes_stay_to_the_letter(tmp_path):
    for given, kept in ((["01", "02"], ["01", "02"]), (["1", ""], [1, np.nan]), (["acid", ""], ["acid", np.nan])):
        rows = "".join(f"1,2,3,{one}\n" for one in given)
        found = read_frame(write(tmp_path / "a.csv", "x,y,radius,class\n" + rows))["class"].tolist()
        np.testing.assert_equal(found, kept)


def test_thousands_and_missing_numbers(tmp_path):
    frame = read_frame(write(tmp_path / "a.csv", 'x,y,radius,p_present\n"1,100.75",2,3,NA\n4,5,6,0.5\n'))
    assert frame["x"].tolist() == [1100.75, 4]
    assert np.isnan(frame["p_present"][0])
    frame = read_frame(write(tmp_path / "b.csv", "x;y;radius\n1,100.75;2.5;3\n4;5;6\n"))
    assert frame["x"].tolist() == [1100.75, 4]
    frame = read_frame(write(tmp_path / "c.csv", "x;y;radius\n1.100,75;2,5;3\n4;5;6\n"))
    assert frame["x"].tolist() == [1100.75, 4]


def test_only_the_heading_is_looked_at(tmp_path):
    path = write(tmp_path / "a.csv", HEAD + "1,2,3\n" * 100_000)
    assert is_droplets_table(path)
    assert len(read_table(path)) == 100_000
    for content in ("radius and x and y\n", "\x00\xff\n", "x,y\n1,2\n"):
        assert not is_droplets_table(write(tmp_path / "b.csv", content, "latin-1"))


@pytest.fixture
def found():
    x, y, r = np.array([(10.5, 20.25, 5.5), (14.0, 20.25, 3.0), (40.0, 30.0, 6.25)]).T
    return Droplets(x, y, r, labels={"class": np.array(["acid", "base", "acid"]), "frame": np.array([0, 0, 1])})


def test_excel(found, tmp_path):
    pytest.importorskip("openpyxl")
    path = export(found, tmp_path / "a.xlsx")
    back = read_table(path)
    np.testing.assert_allclose(back.x, found.x)
    assert back.labels["class"].tolist() == ["acid", "base", "acid"]


def test_label_images(found, tmp_path):
    labels = tifffile.imread(export(found, tmp_path / "a.tif", shape=(48, 64)))
    np.testing.assert_array_equal(labels, label_image(found, (48, 64)))
    assert labels.shape == (48, 64)
    assert labels[20, 14] == 2  # the smaller one lies over the larger
    assert labels[20, 7] == 1
    assert (labels == 3).sum() == pytest.approx(np.pi * 6.25**2, rel=0.05)
    with pytest.raises(InputError, match="needs the shape"):
        export(found, tmp_path / "a.tif")


def test_rois_of_imagej(found, tmp_path):
    from roifile import ROI_TYPE, roiread

    rois = roiread(export(found, tmp_path / "a.zip"))
    assert [r.roitype for r in rois] == [ROI_TYPE.OVAL] * 3
    outline = rois[0].coordinates()
    np.testing.assert_allclose(outline.mean(0), (11, 20.75), atol=0.3)  # counted from the corner of the first pixel
    assert [r.position for r in rois] == [1, 1, 2]
    with pytest.raises(InputError, match="several ROIs go into a"):
        export(found, tmp_path / "a.roi")


def test_geojson(found, tmp_path):
    content = json.loads(export(found, tmp_path / "a.geojson").read_text())
    first = content["features"][0]
    ring = np.array(first["geometry"]["coordinates"][0])
    assert (ring[0] == ring[-1]).all()
    np.testing.assert_allclose(np.hypot(*(ring - (11, 20.75)).T), 5.5, atol=1e-3)
    assert first["properties"]["classification"] == {"name": "class acid"}
    assert first["properties"]["measurements"]["radius"] == 5.5


def test_unknown_kinds(found, tmp_path):
    with pytest.raises(InputError, match=r"known are \.csv"):
        export(found, tmp_path / "a.doc")


def test_points_that_napari_saved_are_where_they_were_moved_to(tmp_path):
    """The features beside the axes may say where they were before."""
    path = tmp_path / "slide.csv"
    path.write_text("index,axis-0,axis-1,x,y,radius,x_um,y_um,radius_um\n0,7,6,1,2,3,2,4,6\n1,9,8,8,9,4,16,18,8\n")
    back = read_table(path)
    assert back.x.tolist() == [6, 8]
    assert back.y.tolist() == [7, 9]
    table = back.to_dataframe()
    assert table["radius_um"].tolist() == [6, 8]
    np.testing.assert_allclose(table["x_um"], 2 * table["x"])
