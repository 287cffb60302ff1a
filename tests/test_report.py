"""The report of a series: one page that holds everything and runs nothing, and its figures as files."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import napari_droplets as nd
from napari_droplets.cli import main
from napari_droplets.plot.overlay import save_overlay
from napari_droplets.reports.montage import thumbnail, thumbnail_width
from napari_droplets.reports.quality import qualities
from napari_droplets.samples.results import Result

ODD = """<b>"wet" & 'A'</b> 1.tif"""


@pytest.fixture(scope="module")
def out(tmp_path_factory, fitted):
    """Results of four images of two conditions, one with a name that is markup, and of one that failed."""
    out = tmp_path_factory.mktemp("report") / "out"
    rows = []
    for i, name in enumerate(["dry_1.tif", "dry_2.tif", "wet_1.tif", ODD]):
        summary = fitted.summary | {"stopped": "time" if i == 2 else "settled"}
        folder = out / f"{i} & <i>"
        replace(fitted, summary=summary).save(folder)
        rows.append({"image": name, "folder": folder.name, "error": None})
    save_overlay(fitted, out / rows[2]["folder"] / "overlay.png")
    rows.append({"image": "<script>alert(1)</script>.tif", "folder": None, "error": "no <image>"})
    pd.DataFrame(rows).to_csv(out / "summary.csv", index=False)
    table = pd.DataFrame({"image": [r["image"] for r in rows[:4]], "condition": ["dry", "dry", "<wet>", "<wet>"]})
    nd.report(out, table, class_names=["acid", "base"])
    return out


@pytest.fixture(scope="module")
def page(out):
    return (out / "report.html").read_text(encoding="utf-8")


def test_the_page_needs_no_other_file_and_runs_nothing(page):
    assert not re.findall(r"<script|<link|@import|https?://(?!www\.w3\.org)", page.split("</style>")[1])
    assert all(src.startswith("data:image/") for src in re.findall(r'src="([^"]+)"', page))
    assert "default-src 'none'" in page
    assert "&lt;b&gt;&#34;wet&#34; &amp; &#39;A&#39;&lt;/b&gt; 1.tif" in page
    assert "no &lt;image&gt;" in page
    assert "&lt;wet&gt;" in page
    assert "2%20%26%20%3Ci%3E/overlay.png" in page  # a link that any browser opens


def test_the_worst_fit_comes_first_with_its_flag(page):
    cards = page.split('<div class="card">')[1:]
    assert len(cards) == 4
    assert "wet_1.tif" in cards[0]
    assert "stopped by the time limit" in cards[0]
    assert 'loading="lazy"' in cards[0]
    assert "data:image/webp" in cards[0]
    assert "flag" not in cards[1]


@pytest.mark.parametrize(
    "name", ["sizes", "quantities", "proportions", "composition", "class_probability", "differences"]
)
def test_each_figure_comes_with_its_files(out, page, name):
    assert f'<h2 id="{name}">' in page
    for ending in ("svg", "png", "csv"):
        assert (out / f"figures/{name}.{ending}").stat().st_size > 100
    assert len(pd.read_csv(out / f"figures/{name}.csv")) > 0


def test_numbers_on_the_page_are_those_of_the_tables(out, page):
    table = pd.read_csv(out / "samples.csv")
    row = table[(table["level"] == "condition") & (table["quantity"] == "D50") & (table["condition"] == "dry")].iloc[0]
    assert f"{row['value']:.3g} ({row['low']:.3g} to {row['high']:.3g})" in page
    sizes = pd.read_csv(out / "figures/sizes.csv")
    whole = (sizes["density"] * (sizes["to"] - sizes["from"])).groupby(sizes["group"]).sum()
    assert whole.to_numpy() == pytest.approx(np.ones(2), abs=0.01)
    assert "differences between images" in page
    assert f'<td class="wrap">{nd.__version__}</td>' in page


def test_thumbnails_are_small_enough_for_a_thousand(out):
    overlay = next(out.glob("2*/overlay.png"))
    for n in (5, 200, 1000):
        uri = thumbnail(overlay, thumbnail_width(n), fitted=True)
        assert n * len(uri) < 15e6
    assert thumbnail(out / "none.png", 200, fitted=True) is None
    (out / "bad.png").write_bytes(b"no picture")
    assert thumbnail(out / "bad.png", 200, fitted=True) is None


def test_flags():
    def result(n=50, **summary):
        made = Result("a.tif", None, {"stopped": "settled", "rmse": 0.02, "unexplained": 0.01} | summary, {})
        made.__dict__["droplets"] = nd.Droplets(*np.ones((3, n)))
        return made

    usual = [result() for _ in range(5)]
    found = qualities([*usual, result(3), result(rmse=0.1), result(unexplained=0.3), result(count_mean=10, count_sd=4)])
    assert not any(q.flags for q in found[:5])
    assert [q.flags[0].split(" ")[0] for q in found[5:]] == ["3", "reconstruction", "30%", "number"]
    assert min(q.badness for q in found[5:]) > max(q.badness for q in found[:5])


def test_the_command_and_its_mistakes(out, tmp_path, capsys):
    assert main(["report", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
    copy = shutil.copytree(out, tmp_path / "out")
    assert main(["report", str(copy), "--groups", "{condition}_*", "--quiet"]) == 2
    assert "does not match" in capsys.readouterr().err
    assert main(["report", str(copy), "--reference", "dry", "--quiet"]) == 0
    assert capsys.readouterr().out.strip() == str(copy / "report.html")
    assert set(pd.read_csv(copy / "differences.csv")["reference"]) == {"dry"}


def test_detections_have_sizes_but_no_classes(tmp_path):
    droplets = nd.Droplets([50.0, 90.0], [50.0, 90.0], [5.0, 8.0], p_present=[0.9, 1.0])
    folder = tmp_path / "a"
    folder.mkdir()
    droplets.to_dataframe().to_csv(folder / "droplets.csv", index=False)
    (folder / "summary.json").write_text(
        json.dumps({"n_droplets": 2, "image": {"name": "a.tif", "shape": [128, 128, 3]}})
    )
    page = nd.report(tmp_path).read_text()
    assert "Density and size" in page
    assert "Class probability" not in page
    assert "2 droplets" in page


def test_no_droplets_at_all(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/droplets.csv").write_text("x,y,radius\n")
    (tmp_path / "a/summary.json").write_text(json.dumps({"n_droplets": 0, "image": {"name": "a.tif"}}))
    assert "0 droplets" in nd.report(tmp_path).read_text()
