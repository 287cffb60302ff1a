"""The picture of a result: found circles on the image, reconstruction, residual, loss and sizes on one slide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..droplets import Droplets, Fit
from ..errors import InputError
from ..images import Image, PixelSize
from ..images.pixel_size import mean_side, width_height
from ..lazy import LazyPixels, Pixels, means
from ..results.files import write_whole
from .colors import composition_colors, droplet_colors, presence_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

SIZE = (16, 9)  # inches: a slide
DPI = 125  # 2000 x 1125 pixels
MAX_SIDE = 1000  # pixels of a shown image across the large panel; more only costs time
COMPRESSION = 2  # of PNG, 0 to 9: a third of the seconds of matplotlib's 6 for a file a tenth larger
FITTED = {
    "all": (0.048, 0.333, 0.422, 0.59),
    "close": (0.5, 0.645, 0.211, 0.288),
    "again": (0.719, 0.645, 0.211, 0.288),
    "whole": (0.5, 0.32, 0.211, 0.288),
    "residual": (0.719, 0.32, 0.211, 0.288),
    "sizes": (0.048, 0.055, 0.422, 0.21),
    "loss": (0.5, 0.055, 0.43, 0.21),
}
"""Panels of a fit: left, bottom, width and height in parts of the slide. To have matplotlib find places for them takes
two fifths of the seconds of a picture …"""
DETECTED = {
    "all": (0.012, 0.05, 0.64, 0.873),
    "close": (0.7, 0.48, 0.285, 0.443),
    "sizes": (0.7, 0.065, 0.285, 0.34),
}
"""… and of a detection."""
CLOSE_UP_RADII = 36  # side of the close-up in typical radii: circles are large enough to judge, neighbors are seen
INK = "#222222"


def overlay(found: Fit | tuple[Image, Droplets]) -> Figure:
    """Draw a fit, or an image with the droplets detected in it.

    Matplotlib's object interface only: safe in any thread, leaves no global state.

    Parameters
    ----------
    found : Fit or (Image, Droplets)
        A fit also shows its reconstruction, residual and loss.

    Raises
    ------
    InputError
        The image of the fit is not at hand.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fit = found if isinstance(found, Fit) else None
    image, droplets = (found.image, found.droplets) if isinstance(found, Fit) else found
    if image is None:
        raise InputError("overlay: the image of this fit is not at hand; use read(folder, image=...)")
    figure = Figure(figsize=SIZE, dpi=DPI)
    FigureCanvasAgg(figure)
    figure.suptitle(_title(image, droplets, fit), fontsize=17, color=INK, x=0.012, y=0.995, ha="left")
    panels = FITTED if fit is not None else DETECTED
    axes = {name: figure.add_axes(place) for name, place in panels.items()}
    colors, box = droplet_colors(droplets), _close_up(image, droplets)

    _show(axes["all"], image.pixels, "image with the droplets found")
    _region(axes["all"], image)
    _circles(axes["all"], image, droplets, colors)
    _frame(axes["all"], box)
    _legend(axes["all"], droplets)
    _scale_bar(axes["all"], image.shape[1], droplets.pixel_size_um or image.pixel_size_um)
    _show(axes["close"], image.pixels, "close-up (white frame)", box)
    _circles(axes["close"], image, droplets, colors)
    _sizes(axes["sizes"], droplets)
    if fit is not None:
        _show(axes["again"], fit.reconstruction, "close-up, reconstruction", box)
        _show(axes["whole"], fit.reconstruction, "reconstruction")
        _residual(axes["residual"], fit)
        _loss(axes["loss"], fit)
    return figure


def save_overlay(found: Fit | tuple[Image, Droplets], path: str | Path) -> Path:
    """Draw `overlay` into an image file, PNG or whatever its name ends with.

    Raises
    ------
    InputError
        The file cannot be written, or the image is not at hand.
    """
    path, figure = Path(path), overlay(found)
    options: dict[str, Any] = {"pil_kwargs": {"compress_level": COMPRESSION}} if path.suffix.lower() == ".png" else {}
    write_whole(path, lambda p: figure.savefig(p, **options))
    return path


def _title(image: Image, droplets: Droplets, fit: Fit | None) -> str:
    name = image.name if len(image.name) <= 70 else f"{image.name[:45]}…{image.name[-24:]}"
    parts = [name, f"{len(droplets):,} droplet{'' if len(droplets) == 1 else 's'}"]
    if fit is not None:
        rmse = fit.summary.get("rmse")
        parts.append(f"RMSE {image.rmse(fit.reconstruction) if rmse is None else rmse:.4f}")
    return "   ·   ".join(parts)


def _region(ax: Axes, image: Image) -> None:
    """The outline of the region in which droplets were looked for, where there is one."""
    if image.region is None or image.region.all():
        return
    h, w = image.region.shape
    step, limits = max(1, max(h, w) // MAX_SIDE), ax.axis()
    inside = np.pad(image.region[::step, ::step], 1)  # its sides along the border of the image, too
    y, x = (step * (np.arange(n) - 1) for n in inside.shape)
    ax.contour(x, y, inside, [0.5], colors="white", linewidths=0.9, linestyles="--")
    ax.axis(limits)


def _circles(ax: Axes, image: Image, droplets: Droplets, colors: np.ndarray) -> None:
    """Circles in data units, on rims dark on a bright image and bright on a dark one, so that no color drowns."""
    from matplotlib.collections import EllipseCollection

    if not len(droplets):
        return
    left, right = ax.get_xlim()
    points = 72 * SIZE[0] * ax.get_position(original=True).width  # across the panel
    width = float(np.clip(np.median(droplets.radius) * points / (right - left) / 6, 0.45, 1.8))
    rim = 0.0 if np.median(_thinned(image.pixels)) > 0.35 else 1.0
    for linewidth, edge in ((2.2 * width, [(rim, rim, rim, 0.55)]), (width, colors)):
        ax.add_collection(
            EllipseCollection(
                2 * droplets.radius,
                2 * droplets.radius,
                np.zeros(len(droplets)),
                units="xy",
                offsets=np.c_[droplets.x, droplets.y],
                offset_transform=ax.transData,
                facecolors="none",
                edgecolors=edge,
                linewidths=linewidth,
            ),
            autolim=False,
        )


def _show(
    ax: Axes, pixels: Pixels, title: str, box: tuple[int, int, int, int] | None = None, **options: Any
) -> AxesImage:
    """Show (H, W, C) pixels, or the part in box (x0, y0, x1, y1), in coordinates of the whole image."""
    x0, y0, x1, y1 = box or (0, 0, pixels.shape[1], pixels.shape[0])
    step = -(-max(y1 - y0, x1 - x0) // MAX_SIDE)
    if step > 1 and isinstance(pixels, LazyPixels) and box is None:
        part = means(pixels, step)
    else:
        part = pixels[y0:y1, x0:x1]
        part = _block_means(part, step) if step > 1 else part
    if step > 1:
        x1, y1 = x0 + part.shape[1] * step, y0 + part.shape[0] * step
    drawn = ax.imshow(
        part[..., 0] if part.shape[-1] == 1 else np.clip(part, 0, 1),
        extent=(x0 - 0.5, x1 - 0.5, y1 - 0.5, y0 - 0.5),
        **{"cmap": "gray", "interpolation": "nearest" if box else "antialiased", **options},
    )
    edge = box or (0, 0, pixels.shape[1], pixels.shape[0])
    ax.set_xlim(edge[0] - 0.5, edge[2] - 0.5)
    ax.set_ylim(edge[3] - 0.5, edge[1] - 0.5)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(title, fontsize=11, color=INK, loc="left")
    return drawn


def _block_means(pixels: np.ndarray, step: int) -> np.ndarray:
    """Means of step x step blocks; an incomplete last row or column of blocks is dropped."""
    height, width = (side // step * step for side in pixels.shape[:2])
    return np.asarray(sum(pixels[i:height:step, j:width:step] for i in range(step) for j in range(step))) / step**2


def _close_up(image: Image, droplets: Droplets) -> tuple[int, int, int, int]:
    """Box (x0, y0, x1, y1) around the most crowded place, shaped as the image so that the panels line up."""
    height, width, _ = image.shape
    radius = float(np.median(droplets.radius)) if len(droplets) else min(height, width) / CLOSE_UP_RADII
    zoom = np.clip(CLOSE_UP_RADII * radius, 24, 0.5 * max(height, width)) / max(height, width)
    side_x, side_y = max(16, round(zoom * width)), max(16, round(zoom * height))
    side_x, side_y = min(side_x, width), min(side_y, height)
    x0, y0 = (width - side_x) // 2, (height - side_y) // 2
    if len(droplets):
        xs = np.append(np.arange(0, width - side_x, max(side_x // 4, 1)), width - side_x)
        ys = np.append(np.arange(0, height - side_y, max(side_y // 4, 1)), height - side_y)
        counts = np.zeros((len(ys), len(xs)))
        for row, y in enumerate(ys):
            inside = np.sort(droplets.x[(droplets.y >= y) & (droplets.y < y + side_y)])
            counts[row] = np.searchsorted(inside, xs + side_x) - np.searchsorted(inside, xs)
        best_row, best_column = np.unravel_index(np.argmax(counts), counts.shape)
        x0, y0 = int(xs[best_column]), int(ys[best_row])
    return x0, y0, x0 + side_x, y0 + side_y


def _frame(ax: Axes, box: tuple[int, int, int, int]) -> None:
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = box
    for width, color in ((3.5, "black"), (1.8, "white")):
        ax.add_patch(Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=width))


def _legend(ax: Axes, droplets: Droplets) -> None:
    """What a droplet of one pure component is drawn in, or one that is surely there or not."""
    from matplotlib.lines import Line2D

    if droplets.composition is None and droplets.p_present is None:
        return
    if droplets.composition is None:
        colors = presence_colors(np.array([0.5, 1.0]))
        labels = ["p_present = 0.5", "p_present = 1"]
    elif droplets.types == 1:
        colors = composition_colors(np.array([[0.0], [1.0]]))
        labels = ["composition_0 = 0", "composition_0 = 1"]
    else:
        colors = composition_colors(np.eye(droplets.types))
        labels = [f"composition_{k}" for k in range(droplets.types)]
    ax.legend(
        [Line2D([], [], linestyle="none", marker="o", color=c, markersize=8) for c in colors],
        labels,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.005),
        ncols=min(len(labels), 8),
        frameon=False,
        fontsize=10,
        handletextpad=0.1,
        columnspacing=1.2,
    )


def _scale_bar(ax: Axes, width: int, size: PixelSize | None) -> None:
    """A bar of a round length, about a sixth of the image wide."""
    from matplotlib.patches import Rectangle

    if size is None:
        return
    pixel_size_um = width_height(size)[0]
    wanted = width * pixel_size_um / 6
    power = 10.0 ** np.floor(np.log10(wanted))
    length = power * max(m for m in (1, 2, 5) if m * power <= wanted)
    span = length / (width * pixel_size_um)
    x, y = 0.97 - span, 0.045
    box: dict[str, Any] = {"transform": ax.transAxes, "linewidth": 0}
    ax.add_patch(Rectangle((x - 0.015, y - 0.025), span + 0.03, 0.105, facecolor=(0, 0, 0, 0.6), **box))
    ax.add_patch(Rectangle((x, y), span, 0.012, facecolor="white", **box))
    ax.text(
        x + span / 2, y + 0.02, f"{length:g} µm", transform=ax.transAxes, color="white", ha="center", va="bottom",
        fontsize=11,
    )  # fmt: skip


def _residual(ax: Axes, fit: Fit) -> None:
    left = fit.residual
    if isinstance(left, LazyPixels):  # of as many pixels as are shown
        residual = means(left, -(-max(left.shape[:2]) // MAX_SIDE)).mean(axis=-1, keepdims=True)
    else:
        residual = left.mean(axis=-1, keepdims=True)
    limit = float(f"{np.quantile(np.abs(_thinned(residual)), 0.995):.1g}") or 1.0
    drawn = _show(ax, residual, "residual", cmap="RdBu_r", vmin=-limit, vmax=limit)
    beside = ax.inset_axes((1.02, 0, 0.04, 1))
    bar = ax.figure.colorbar(drawn, cax=beside, ticks=[-limit, 0, limit], extend="both")
    bar.set_label("image − reconstruction" + (", channel mean" if fit.reconstruction.shape[-1] > 1 else ""), fontsize=9)
    bar.ax.tick_params(labelsize=9)
    bar.outline.set_visible(False)


def _thinned(pixels: Pixels) -> np.ndarray:
    """Enough of the pixels for a median or quantile."""
    step = max(1, max(pixels.shape[:2]) // 500)
    return pixels[::step, ::step]


def _loss(ax: Axes, fit: Fit) -> None:
    ax.set_title("loss (negative ELBO) per intensity value", fontsize=11, color=INK, loc="left")
    _plain(ax)
    losses = np.asarray(fit.losses, float).reshape(-1, 3)
    if not len(losses):
        ax.text(0.5, 0.5, "no steps", transform=ax.transAxes, ha="center", va="center", color=INK)
        return
    step, loss = losses[:, 0], losses[:, 1] / fit.reconstruction.size
    ax.plot(step, loss, color="#2a6f97", linewidth=1.8, marker="o" if len(step) < 30 else "", markersize=3)
    ax.set_xlabel("step")
    # the first steps fall so far that the rest would be a flat line
    settled = loss[len(loss) // 5 :]
    low, high = settled.min(), settled.max()
    if loss.max() - low > 4 * (high - low) > 0:
        ax.set_ylim(low - 0.1 * (high - low), high + 1.0 * (high - low))


def _sizes(ax: Axes, droplets: Droplets) -> None:
    unit, factor = ("px", 1.0) if droplets.pixel_size_um is None else ("µm", mean_side(droplets.pixel_size_um))
    ax.set_title("droplet sizes", fontsize=11, color=INK, loc="left")
    _plain(ax)
    ax.set_xlabel(f"diameter ({unit})")
    ax.set_ylabel("droplets")
    if not len(droplets):
        ax.text(0.5, 0.5, "none found", transform=ax.transAxes, ha="center", va="center", color=INK)
        ax.set_xticks([])
        ax.set_yticks([])
        return
    diameter = 2 * droplets.radius * factor
    top = float(diameter.max()) * 1.02
    bins = int(np.clip(np.sqrt(len(diameter)), 8, 60))
    ax.hist(diameter, bins=np.linspace(0, top, bins + 1).tolist(), color="#61a5c2", edgecolor="white", linewidth=0.5)
    median = float(np.median(diameter))
    ax.axvline(median, color=INK, linewidth=1.2, linestyle="--")
    ax.text(
        median, 0.98, f"  median {median:.3g} {unit}", transform=ax.get_xaxis_transform(), va="top", color=INK,
        fontsize=10,
    )  # fmt: skip
    ax.set_xlim(0, top)


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9, colors=INK)


def image_panel(size: tuple[int, int], *, fitted: bool) -> tuple[int, int, int, int]:
    """Where in a saved overlay of this width and height the image with its circles is: left, top, right, bottom."""
    x, y, width, height = (FITTED if fitted else DETECTED)["all"]
    left, right, top, bottom = x, x + width, 1 - y - height, 1 - y
    return round(left * size[0]), round(top * size[1]), round(right * size[0]), round(bottom * size[1])
