"""Results for other libraries of Python: ArviZ, AnnData, SpatialData, each imported when it is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from . import __version__
from .droplets import Droplets, Fit
from .errors import InputError

SAMPLES = 500
"""Of the posterior, as a chain."""


def to_arviz(fit: Fit, n: int = SAMPLES, *, seed: int = 0) -> Any:
    """Joint samples of the posterior as ArviZ takes them.

    Parameters
    ----------
    fit : Fit
    n : int
        Number of samples. Variational inference draws independent ones: there is one chain.
    seed : int
        Of the draws.

    Returns
    -------
    InferenceData, or DataTree of ArviZ 1
        With a group `posterior`, an xarray Dataset of x, y, radius (chain, draw, droplet), pixels, and composition
        (chain, draw, droplet, component).

    Raises
    ------
    InputError
        ArviZ is not installed.
    """
    try:
        import arviz
        import xarray
    except ImportError as error:
        raise InputError("to_arviz: needs ArviZ: pip install 'napari-droplets[arviz]'") from error
    drawn = fit.sample(n, seed=seed)
    names = ("chain", "draw", "droplet", "component")
    variables = {k: (names[: v.ndim + 1], v[None]) for k, v in drawn.items()}
    coordinates = {"chain": [0], "draw": np.arange(n), "droplet": np.arange(len(fit.droplets))}
    dataset = xarray.Dataset(variables, coordinates, {"created_with": f"napari-droplets {__version__}", "unit": "px"})
    convert = getattr(arviz, "convert_to_datatree", None) or arviz.convert_to_inference_data
    return convert(dataset)


def to_anndata(droplets: Droplets | pd.DataFrame | Fit) -> Any:
    """The table as AnnData: an observation for each droplet.

    Returns
    -------
    AnnData
        X is the composition (N, K), without columns where it is not known; obs has all others, obsm["spatial"] is x
        and y (N, 2).

    Raises
    ------
    InputError
        AnnData is not installed.
    """
    try:
        from anndata import AnnData
    except ImportError as error:
        raise InputError("to_anndata: needs AnnData: pip install anndata") from error
    found = _droplets(droplets)
    table = found.to_dataframe()
    components = [f"composition_{k}" for k in range(found.types)]
    obs = table.drop(columns=components)
    obs.index = pd.Index([f"droplet_{i}" for i in range(len(obs))])
    for column in obs.select_dtypes("object").columns:  # AnnData writes text and categories, nothing mixed
        obs[column] = obs[column].map(lambda v: None if pd.isna(v) else str(v)).astype("category")
    made_of = np.zeros((len(obs), 0)) if found.composition is None else found.composition
    var = pd.DataFrame(index=pd.Index(components, dtype=object))
    return AnnData(
        X=made_of.astype(np.float32), obs=obs, var=var, obsm={"spatial": np.column_stack([found.x, found.y])}
    )


def to_spatialdata(droplets: Droplets | pd.DataFrame | Fit) -> Any:
    """Droplets as SpatialData: circles, and a table of what is known of each.

    Returns
    -------
    SpatialData
        shapes["droplets"] are circles in pixels, tables["table"] is `to_anndata` of the same rows.

    Raises
    ------
    InputError
        SpatialData is not installed.
    """
    try:
        from spatialdata import SpatialData
        from spatialdata.models import ShapesModel, TableModel
    except ImportError as error:
        raise InputError("to_spatialdata: needs SpatialData: pip install spatialdata") from error
    found = _droplets(droplets)
    table = to_anndata(found)
    circles = ShapesModel.parse(
        np.column_stack([found.x, found.y]), geometry=0, radius=found.radius, index=table.obs.index
    )
    table.obs["region"] = pd.Categorical(["droplets"] * len(found))
    table.obs["instance"] = table.obs.index
    parsed = TableModel.parse(table, region="droplets", region_key="region", instance_key="instance")
    return SpatialData(shapes={"droplets": circles}, tables={"table": parsed})


def _droplets(found: Droplets | pd.DataFrame | Fit) -> Droplets:
    if isinstance(found, Fit):
        return found.droplets
    return Droplets.from_dataframe(found) if isinstance(found, pd.DataFrame) else found
