"""Tracks for other programs: GEFF, TrackMate, napari layers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..storage.atomic import partial_folder, replace_folder, write_whole

if TYPE_CHECKING:
    from .tracks import Tracks

    LayerData = tuple[np.ndarray, dict[str, Any], str]

EXPORTS = {"geff": "tracks.geff", "trackmate": "tracks.xml", "plots": "tracks.png"}
"""What can be written besides the tables, and the files it goes to."""


def export(tracks: Tracks, path: str | Path) -> Path:
    """Write tracks in the form that a program wants, told by the name of the file.

    Parameters
    ----------
    tracks : Tracks
    path : path
        .geff: a graph in the Graph Exchange File Format; .xml: a file that TrackMate loads; .png, .svg, .pdf: plots.

    Raises
    ------
    InputError
        Another ending, a library that is not installed, or a file that cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".geff":
        _geff(tracks, path)
    elif kind == ".xml":
        content = trackmate_xml(tracks)
        write_whole(path, lambda p: p.write_bytes(content))
    elif kind in (".png", ".svg", ".pdf"):
        from .plots import overview

        figure = overview(tracks)
        write_whole(path, lambda p: figure.savefig(p, dpi=110))
    else:
        raise InputError(f"{path}: {kind or 'no ending'}; give .geff, .xml (TrackMate), .png, .svg or .pdf")
    return path


def edges_of(tracks: Tracks) -> list[tuple[int, int]]:
    """All edges by rows, toward the future: links, and those of merges and splits."""
    edges = [(int(a), int(b)) for a, b in tracks.links]
    edges += [(row, e.one) for e in tracks.merges for row in e.several]
    edges += [(e.one, row) for e in tracks.splits for row in e.several]
    return sorted(edges)


def _geff(tracks: Tracks, path: Path) -> None:
    try:
        import geff
        import networkx
    except ImportError as error:
        raise InputError(f"{path}: to write GEFF: pip install 'napari-droplets[geff]'") from error

    table = tracks.droplets
    numeric = table.select_dtypes(["number", "bool"])
    graph = networkx.DiGraph()
    columns = {str(name): numeric[name].tolist() for name in numeric}
    for row in range(len(table)):
        graph.add_node(row, **{name: values[row] for name, values in columns.items()})
    graph.add_edges_from(edges_of(tracks))
    time = "time_s" if "time_s" in numeric else "frame"
    with partial_folder(path) as partial:
        geff.write(
            graph,
            partial,
            axis_names=[time, "y", "x"],
            axis_types=["time", "space", "space"],
            axis_units=["second" if time == "time_s" else None, "pixel", "pixel"],
            overwrite=True,
        )
        replace_folder(partial, path)


def trackmate_xml(tracks: Tracks) -> bytes:
    """A TrackMate file (version 7): spots, edges and tracks, which merges and splits join, as TrackMate has them."""
    import xml.etree.ElementTree as ElementTree

    from .paths import track_numbers

    table = tracks.droplets
    timed = "time_s" in table
    height, width = tracks.options.get("shape") or (int(table["y"].max()) + 1, int(table["x"].max()) + 1)
    root = ElementTree.Element("TrackMate", version="7.11.1")
    model = ElementTree.SubElement(root, "Model", spatialunits="pixel", timeunits="sec" if timed else "frame")
    features = ElementTree.SubElement(model, "FeatureDeclarations")
    spots_known = [
        ("QUALITY", "Quality", "QUALITY", "false"),
        ("POSITION_X", "X", "POSITION", "false"),
        ("POSITION_Y", "Y", "POSITION", "false"),
        ("POSITION_Z", "Z", "POSITION", "false"),
        ("POSITION_T", "T", "TIME", "false"),
        ("FRAME", "Frame", "NONE", "true"),
        ("RADIUS", "Radius", "LENGTH", "false"),
        ("VISIBILITY", "Visibility", "NONE", "true"),
    ]
    links_known = [
        ("SPOT_SOURCE_ID", "Source spot ID", "NONE", "true"),
        ("SPOT_TARGET_ID", "Target spot ID", "NONE", "true"),
        ("LINK_COST", "Edge cost", "COST", "false"),
    ]
    tracks_known = [("TRACK_INDEX", "Track index", "NONE", "true"), ("TRACK_ID", "Track ID", "NONE", "true")]
    for name, known in (("Spot", spots_known), ("Edge", links_known), ("Track", tracks_known)):
        group = ElementTree.SubElement(features, f"{name}Features")
        for feature, title, dimension, whole in known:
            about = {"feature": feature, "name": title, "shortname": title, "dimension": dimension, "isint": whole}
            ElementTree.SubElement(group, "Feature", about)
    spots = ElementTree.SubElement(model, "AllSpots", nspots=str(len(table)))
    time = table["time_s" if timed else "frame"].to_numpy(float)
    p = table["p_present"].to_numpy(float) if "p_present" in table else np.ones(len(table))
    for number, rows in table.groupby("frame", sort=True).indices.items():
        inside = ElementTree.SubElement(spots, "SpotsInFrame", frame=str(number))
        for row in rows:
            one = table.iloc[row]
            ElementTree.SubElement(
                inside,
                "Spot",
                ID=str(row),
                name=f"track {one['track_id']}",
                QUALITY=f"{p[row]:.6g}",
                POSITION_X=f"{one['x']:.6g}",
                POSITION_Y=f"{one['y']:.6g}",
                POSITION_Z="0",
                POSITION_T=f"{time[row]:.6g}",
                FRAME=str(number),
                RADIUS=f"{one['radius']:.6g}",
                VISIBILITY="1",
            )
    edges = edges_of(tracks)
    number_of = track_numbers(len(table), np.array(edges, int).reshape(-1, 2))
    group = ElementTree.SubElement(model, "AllTracks")
    by_track: dict[int, list[tuple[int, int]]] = {}
    for a, b in edges:
        by_track.setdefault(int(number_of[a]), []).append((a, b))
    for number, members in by_track.items():
        element = ElementTree.SubElement(
            group, "Track", name=f"Track_{number}", TRACK_ID=str(number), TRACK_INDEX=str(number)
        )
        for a, b in members:
            ElementTree.SubElement(element, "Edge", SPOT_SOURCE_ID=str(a), SPOT_TARGET_ID=str(b), LINK_COST="0")
    chosen = ElementTree.SubElement(model, "FilteredTracks")
    for number in by_track:
        ElementTree.SubElement(chosen, "TrackID", TRACK_ID=str(number))
    settings = ElementTree.SubElement(root, "Settings")
    frames = int(table["frame"].max()) + 1
    interval = float(np.median(np.diff(np.unique(time)))) if table["frame"].nunique() > 1 else 1.0
    ElementTree.SubElement(
        settings,
        "ImageData",
        filename="",
        folder="",
        width=str(width),
        height=str(height),
        nslices="1",
        nframes=str(frames),
        pixelwidth="1",
        pixelheight="1",
        voxeldepth="1",
        timeinterval=f"{interval:.6g}",
    )
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)


def track_layers(tracks: Tracks, *, name: str = "movie", scale: tuple[float, float] = (1.0, 1.0)) -> list[LayerData]:
    """Tracks as napari layer data: a Tracks layer with the graph of merges and splits, and points with the time axis.

    Parameters
    ----------
    tracks : Tracks
    name : str
        Of the movie; the layers are called after it.
    scale : (float, float)
        Height and width of a pixel of the movie's layer.

    Returns
    -------
    list of tuple
        `(data, attributes, layer type)`, for `viewer.add_layer(napari.layers.Layer.create(*data))`.
    """
    from ..droplets import Droplets
    from ..plot.colors import droplet_colors

    table = tracks.droplets
    order = np.lexsort((table["frame"].to_numpy(), table["track_id"].to_numpy()))
    lines = table.iloc[order][["track_id", "frame", "y", "x"]].to_numpy(float)
    along = (1.0, *scale)
    numbers = {c: table[c].to_numpy(float)[order] for c in ("radius", "time_s", "p_present") if c in table}
    paths = (
        lines,
        {"name": f"{name} tracks", "graph": tracks.graph(), "features": numbers, "scale": along, "tail_length": 10},
        "tracks",
    )
    droplets = Droplets.from_dataframe(table)
    points = (
        table[["frame", "y", "x"]].to_numpy(float),
        {
            "name": f"{name} droplets",
            "size": 2 * droplets.radius,
            "features": table,
            "face_color": "transparent",
            "border_color": droplet_colors(droplets),
            "border_width": 0.1,
            "border_width_is_relative": True,
            "scale": along,
        },
        "points",
    )
    return [points, paths]
