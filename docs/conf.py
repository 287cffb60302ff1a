"""How Sphinx builds the documentation: `sphinx-build -W docs docs/_build/html`."""

import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

from sphinx_gallery.sorting import FileNameSortKey

import napari_droplets

project = "napari-droplets"
author = copyright = "the napari-droplets developers"
version = release = napari_droplets.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx_gallery.gen_gallery"]
exclude_patterns = ["detection_results.md", "fit_results.md", "samples_results.md", "_build"]
suppress_warnings = ["config.cache"]  # the sort key of the gallery is a class

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc says what is taken, in words
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",  # the others open windows
    "within_subsection_order": FileNameSortKey,
    "download_all_examples": False,
    "min_reported_time": 1,
    "abort_on_example_error": True,
}

html_theme = "napari_sphinx_theme"
html_title = f"napari-droplets {release}"
html_show_sourcelink = False
html_theme_options = {"secondary_sidebar_items": ["page-toc"]}
html_sidebars = {"index": []}

warnings.filterwarnings("ignore", category=DeprecationWarning)  # of the libraries that the gallery uses

FIGURES = Path(__file__).parent / "figures"


def fill_in(app, docname, source):
    """Replace `{{help COMMAND}}` by what the program says, `{{figures}}` by what is in docs/figures."""
    text = re.sub(r"\{\{help (\w+)\}\}", lambda found: program_help(found[1]), source[0])
    pictures = [f"![{path.stem.replace('_', ' ')}](figures/{path.name})" for path in sorted(FIGURES.glob("*.png"))]
    source[0] = text.replace("{{figures}}", "\n\n".join(pictures) or "*No figures have been made yet.*")


def program_help(command):
    """The help text of a command."""
    program = [sys.executable, "-m", "napari_droplets", command, "--help"]
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(program, capture_output=True, text=True, check=True, env=environment).stdout.rstrip()


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", fill_in)
