"""A computation in a thread of Qt's, and Python's end."""

import subprocess
import sys

import pytest

pytest.importorskip("superqt")
pytest.importorskip("PyQt6")

WORKING = """
import sys, time
from types import SimpleNamespace
import superqt.utils
sys.modules["napari.qt.threading"] = superqt.utils  # where napari has it from; napari takes seconds to import
from qtpy.QtCore import QCoreApplication
from napari_droplets.plugin.jobs.job import Job

def steps():
    yield SimpleNamespace(stage="fit", step=0, n_droplets=0)
    time.sleep(0.2)
    return "a result"

app = QCoreApplication([])
job = Job(steps, lambda _: None, lambda _: None)
job.start()
while not job.running:
    time.sleep(0.01)
"""


def test_a_job_at_work_when_python_ends_is_waited_for():
    """Without an event loop, whose end napari waits at; else the process is aborted."""
    done = subprocess.run([sys.executable, "-c", WORKING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
