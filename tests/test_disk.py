"""Programs kept on disk: the next process finds them again, and where they cannot be kept nothing goes wrong."""

import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

from napari_droplets.compiling import disk as compiled

PROGRAM = """
import hashlib
import jax, numpy as np
import napari_droplets as nd
from napari_droplets.inference.steps import evidence
from napari_droplets.inference.steps import gauss_newton
from napari_droplets.inference.steps import optics_step
from napari_droplets.inference.prepare import prepare
from napari_droplets.settings import Settings

image, truth = nd.simulate((64, 80), 12, radius=5, seed=2)
start = nd.Droplets(truth.x, truth.y, truth.radius)
setup, state = prepare(nd.Image(image), start, None, Settings(types=2))
raw, form = evidence.padded(len(setup.anchor), state.mean), setup.form
look = jax.make_jaxpr(gauss_newton.measure.__wrapped__, static_argnums=7)
one = look(raw, setup.anchor, state.shared, state.rows, np.int32(1), np.int32(1), np.int32(1), form)
rates = optics_step.Learned(jax.tree.map(lambda a: 0.0, state.shared), 0.0)
order = np.zeros((optics_step.STEPS, optics_step.ROWS_PER_STEP), np.int32)
rate, precision, of = np.zeros(optics_step.STEPS, np.float32), np.ones(len(raw), np.float32), np.float32(1)
step = jax.make_jaxpr(optics_step.chunk.__wrapped__, static_argnums=10)
other = step(state.optics, rates, rate, order, raw, setup.anchor, state.rows, precision, of, of, form)
print(hashlib.sha256((str(one) + str(other)).encode()).hexdigest())
"""
IMPORT = """
import jax
before = dict(jax.config.values)
import napari_droplets.{module}
changed = {{k: v for k, v in jax.config.values.items() if k in before and v != before[k]}}
assert not changed, changed
"""


def ran(code, **environment):
    """What a process prints that runs the code."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "module",
    [
        "detection.scales",
        "detection.blobs",
        "inference.api",
        "inference.run",
        "training.loop",
        "plugin.jobs.work",
    ],
)
def test_an_import_changes_nothing_of_jax(module):
    if module.startswith("plugin"):
        pytest.importorskip("napari")
    ran(IMPORT.format(module=module))


def test_the_program_of_a_fit_is_the_same_in_every_process():
    """Sets of strings are in another order in each process; none may decide about the program."""
    runs = [ran(PROGRAM, PYTHONHASHSEED=hash_seed) for hash_seed in ("1", "2")]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 65


@pytest.fixture
def config(monkeypatch):
    """What is changed of JAX's configuration, none of it in truth; there is no folder to begin with."""
    changes = {}
    monkeypatch.setattr(jax.config, "update", changes.__setitem__)
    monkeypatch.setattr(compiled, "_folder_of_jax", lambda: None)
    return changes


def test_programs_are_kept_in_the_cache_folder_of_the_user(config, monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "user_cache_path", lambda *args, **kwargs: tmp_path / "cache")
    compiled.keep_compiled()
    folder = config["jax_compilation_cache_dir"]
    assert folder.startswith(str(tmp_path / "cache"))
    assert os.path.isdir(folder)


def test_programs_longest_unused_make_room(config, monkeypatch, tmp_path):
    folder = tmp_path / "cache" / f"compiled-{compiled._machine()}"
    folder.mkdir(parents=True)
    for age, name in enumerate(("new", "old", "oldest")):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (1e9 - 100 * age,) * 2)
    monkeypatch.setattr(compiled, "MOST", 200)
    monkeypatch.setattr(compiled, "user_cache_path", lambda *args, **kwargs: tmp_path / "cache")
    compiled.keep_compiled()
    assert {path.name for path in folder.iterdir()} == {"new", "old", "writable"}


def test_nothing_is_kept_where_nothing_can_be_written(config, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setattr(compiled, "user_cache_path", lambda *args, **kwargs: tmp_path / "cache")
    compiled.keep_compiled()
    assert config == {}


def test_a_folder_that_was_chosen_stays(config, monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "_folder_of_jax", lambda: "elsewhere")
    monkeypatch.setattr(compiled, "user_cache_path", lambda *args, **kwargs: tmp_path / "cache")
    compiled.keep_compiled()
    assert config == {}


def test_options_that_were_chosen_stay(config, monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "user_cache_path", lambda *args, **kwargs: tmp_path / "cache")
    monkeypatch.setattr(compiled, "SMALL_TOO", (("jax_persistent_cache_min_compile_time_secs", -7.0, 0.0),))
    compiled.keep_compiled()
    assert set(config) == {"jax_compilation_cache_dir"}


def test_nothing_is_kept_where_that_is_switched_off(config, monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "user_cache_path", lambda *args, **kwargs: tmp_path / "cache")
    monkeypatch.setattr(compiled, "jax", SimpleNamespace(config=SimpleNamespace(jax_enable_compilation_cache=False)))
    compiled.keep_compiled()
    assert config == {}


KEPT = """
import os
import jax, numpy as np
import napari_droplets as nd

jax.numpy.ones(3) + 1  # another program is there already
assert jax.config.jax_compilation_cache_dir is None
nd.detect(nd.simulate((64, 80), 12, radius=5, seed=2)[0])
print(len(os.listdir(jax.config.jax_compilation_cache_dir)))
"""


def test_the_first_use_keeps_programs(tmp_path):
    assert int(ran(KEPT, XDG_CACHE_HOME=str(tmp_path), HOME=str(tmp_path), LOCALAPPDATA=str(tmp_path))) > 1
