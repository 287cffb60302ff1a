"""A batch whose fits are stand-ins, for tests of what surrounds it."""

import numpy as np
from fake_fit import FOUND
from stand_in import write_image

from napari_droplets.series import batch
from napari_droplets.series.batch import Plan, run
from napari_droplets.settings import Settings


def fit_by(fake):
    """`fit` as the stand-in iterates it."""

    def fit(image, droplets=None, optics=None, *, callback=None, **settings):
        steps, reply = fake.iterate(image, droplets, optics, **settings), None
        while True:
            try:
                progress = steps.send(reply)
            except StopIteration as end:
                return end.value
            reply = None if callback is None else callback(progress)

    return fit


def fitted_folder(fake, monkeypatch, folder, names=("a", "b", "c"), **options):
    """Images in FOLDER/in, one of them damaged where its name is `bad`, and their results in FOLDER/out."""
    monkeypatch.setattr("napari_droplets.inference.api.fit", fit_by(fake))
    fake.chunks, fake.seconds = 1, 0
    fake.summary = {"n_droplets": FOUND, "count_mean": float(FOUND), "count_sd": 0.5, "stopped": "settled", "rmse": 0.1}
    paths = [write_image(folder / f"in/{name}.png", seed) for seed, name in enumerate(names)]
    for path in paths:
        if path.stem == "bad":
            path.write_bytes(b"no picture")
    out = folder / "out"
    batch.check_output(out, [])
    outcomes = list(run(paths, out, Plan(Settings(), **options), combine=True))
    assert all(np.isfinite(o.summary["n_droplets"]) for o in outcomes if o.summary)
    return out
