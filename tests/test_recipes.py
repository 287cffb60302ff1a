"""Recipes of the documentation run; those of programs that are not installed are skipped."""

import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from fake_fit import FakeFit
from stand_in import write_image

from napari_droplets.inference import api

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "docs/recipes"


@pytest.fixture
def fake(monkeypatch):
    fake = FakeFit()
    fake.seconds = 0
    monkeypatch.setattr(api, "iterate", fake.iterate)
    return fake


@pytest.fixture
def slides(tmp_path):
    for seed, name in enumerate(["dry_A_1.tif", "wet_A_1.tif"]):
        write_image(tmp_path / "slides" / name, seed)
    return tmp_path


@pytest.mark.skipif(
    importlib.util.find_spec("napari") is None, reason="needs napari: pip install 'napari-droplets[all]'"
)
def test_a_folder_without_a_window(slides, fake, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["headless_folder.py", str(slides / "slides"), str(slides / "out")])
    runpy.run_path(str(RECIPES / "headless_folder.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines() == ["dry_A_1.tif: 12 droplets", "wet_A_1.tif: 12 droplets"]
    assert [call[3]["learn_optics"] for call in fake.calls] == [True, False]
    table = pd.read_csv(slides / "out/wet_A_1.csv")
    assert {"x", "y", "radius", "composition_0"} <= set(table)


@pytest.mark.skipif(shutil.which("snakemake") is None, reason="needs snakemake: pip install snakemake")
def test_snakemake_plans_a_job_for_each_image(slides):
    command = ["snakemake", "-n", "-s", str(RECIPES / "Snakefile"), "--config", "groups={condition}_{sample}_*"]
    done = subprocess.run(command, cwd=slides, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert re.search(r"fit +2", said)
    assert re.search(r"report +1", said)


@pytest.mark.skipif(shutil.which("nextflow") is None, reason="needs nextflow: https://www.nextflow.io")
def test_nextflow_reads_the_pipeline(slides):
    command = ["nextflow", "run", str(RECIPES / "main.nf"), "-preview", "--images", str(slides / "slides/*.tif")]
    done = subprocess.run(command, cwd=slides, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_notebook_runs(fake):
    pytest.importorskip("marimo", reason="needs marimo: pip install marimo")
    app = runpy.run_path(str(RECIPES / "notebook.py"))["app"]
    _, defined = app.run()
    assert len(defined["fit"].table) == 12
    assert defined["sizes"].get_xlabel() == "diameter (px)"


def test_options_of_the_recipes_are_those_of_the_command_line():
    """Also where nothing that runs them is installed: every command in them is one that the parser takes."""
    from napari_droplets.cli.options import parser

    for name in ("Snakefile", "main.nf"):
        commands = re.findall(r"napari-droplets (fit|report) (.*?)(?:\"\n|\n)", (RECIPES / name).read_text())
        assert len(commands) >= 2
        for command, rest in commands:
            words = re.sub(r"\$?\{[\w.]*(options|OPTIONS|groups|optics)[\w.]*\}", "", rest).replace("'", "").split()
            assert parser().parse_args([command, *words]).command == command


def test_the_container_is_made_of_files_that_are_there():
    text = (RECIPES / "Containerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.+)$", text, re.M) for name in line.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {project["project"]["readme"], *project["project"]["license-files"], "pyproject.toml", "src"}
    assert needed <= set(copied)
    extras = re.search(r"'\.\[(.+)\]'", text)[1].split(",")
    assert set(extras) <= set(project["project"]["optional-dependencies"])
    assert all(f'"{name}"' in text for name in project["project"]["scripts"])
