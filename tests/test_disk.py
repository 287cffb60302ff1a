"""Programs kept on disk: the next process finds them again, and where they cannot be kept nothing goes wrong."""

import os
import subprocess
import sys

import jax
import pytest

from napari_droplets.compiling import disk as compiled

PROGRAM = """
import hashlib
import jax, numpy as np
import napari_droplets as nd
from napari_droplets.inference import laplace, prepare, svi
from napari_droplets.settings import Settings

image, truth = nd.simulate((64, 80), 12, radius=5, seed=2)
start = nd.Droplets(truth.x, truth.y, truth.radius)
p = prepare.prepare(nd.Image(image), start, None, Settings(types=2))
step = jax.make_jaxpr(svi.chunk.__wrapped__, static_argnums=6)
one = step(p.state, p.problem, p.free, np.float32(0.01), np.uint32(0), np.uint32(0), p.form)
mean = p.state.parameters.mean
look = jax.make_jaxpr(laplace._pass.__wrapped__, static_argnums=6)
other = look(mean.droplets, mean.shared, p.problem, np.float32(0.01), np.int32(1), np.bool_(False), p.form)
print(hashlib.sha256((str(one) + str(other)).encode()).hexdigest())
"""


def test_the_program_of_a_fit_is_the_same_in_every_process():
    """Sets of strings are in another order in each process; none may decide about the program."""
    runs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        for hash_seed in ("1", "2")
    ]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout) == 65


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
