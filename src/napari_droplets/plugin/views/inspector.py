"""One droplet looked at: image, model and residual side by side, what is known of it, and the next one in doubt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QImage, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QCheckBox, QFormLayout, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from ...droplets import Droplets
from ...images.pixel_size import mean_side
from ...lazy import Pixels
from ...workbench.corrections import pinned
from ...workbench.doubtful import Doubt, doubtful, following
from ...workbench.filters import Filters, passes
from ...workbench.inspection import RESIDUAL_SHOWN, Part, facts, half_side, parts, piece, signed_residual
from ...workbench.session import Session
from ..controls.parts import button
from .drawn import DrawnView
from .residual import residual_colors

PICTURE = 92
"""Side of a picture, pixels of the screen."""
SOON_MS = 30
TIPS = {
    "next": "The next droplet that deserves a look, the worst first: those that the model explains badly, then those\n"
    "that may not be there. What you correct or confirm leaves the list. Key: Alt+N",
    "previous": "Back to the one before. Key: Alt+B",
    "confirm": "It is right: take it off the list. It counts as corrected by you, and a refit leaves it alone.\n"
    "Key: Alt+O",
    "model": "The image as the model sees it, drawn over the photograph",
    "residual": "What the model does not explain: blue where the image is darker than the model, orange where it is\n"
    f"brighter; full color from {RESIDUAL_SHOWN:g} times the noise.",
}


Plane = tuple[int, ...]


class Pictures(NamedTuple):
    """What there is to see of an image, (H, W, C); None where there is none."""

    image: Pixels | None = None
    model: Pixels | None = None
    limits: tuple[float, float] | None = None
    """What is shown black and white; by default what there is in a piece, of colors 0 and 1."""
    noise: float | None = None
    """Standard deviation of an intensity."""


class Inspector(DrawnView):
    """The selected droplet, and the way from one in doubt to the next.

    Parameters
    ----------
    session : Session
        Whose selected droplet is shown.
    pictures : callable
        Gives the `Pictures` of a plane of the image worked on.
    look_at : callable
        Moves the camera to x, y of a plane of the image, pixels, so that a circle of a radius is seen.
    show_layer : callable
        Shows or hides the layer "model" or "residual" on the whole image.
    """

    def __init__(
        self,
        session: Session,
        pictures: Callable[[Plane], Pictures],
        look_at: Callable[[float, float, float, Plane], None],
        show_layer: Callable[[str, bool], None] = lambda *_: None,
    ) -> None:
        super().__init__(session, SOON_MS)
        self._pictures, self._look_at = pictures, look_at
        self.doubt = Doubt([], [])
        self._pieces = {name: Picture() for name in ("image", "model", "residual")}
        self._pieces["residual"].setToolTip(TIPS["residual"])
        self._heading, self._why, self._left = _label(), _label(), _label()
        self._facts = QFormLayout()
        self._bar = CompositionBar()
        self.previous_button = button("◀ Previous", self.previous, TIPS["previous"])
        self.next_button = button("Next doubtful ▶", self.next, TIPS["next"])
        self.confirm_button = button("Right as it is", self.confirm, TIPS["confirm"])
        self.layer_boxes = {"model": QCheckBox("model"), "residual": QCheckBox("residual")}
        for name, box in self.layer_boxes.items():
            box.setToolTip(TIPS[name])
            box.toggled.connect(lambda on, name=name: show_layer(name, on))
        for made, keys in (
            (self.next_button, "Alt+N"),
            (self.previous_button, "Alt+B"),
            (self.confirm_button, "Alt+O"),
        ):
            made.setShortcut(keys)
        self._lay_out()
        for signal in (
            session.sheet_changed,
            session.table_changed,
            session.selection_changed,
            session.filters_changed,
        ):
            signal.connect(self.draw_soon)
        self.draw()

    def next(self) -> None:
        """Select the next droplet in doubt, and look there."""
        self._go(1)

    def previous(self) -> None:
        """Select the one before."""
        self._go(-1)

    def confirm(self) -> None:
        """The selected droplets are right as they are."""
        sheet, chosen = self.session.sheet, list(self.session.selected)
        if sheet is None or not chosen:
            return
        last = self._now()
        sheet.edit(pinned(sheet.table, chosen), "pin")
        self._update_doubt()
        if last is not None and self.doubt.numbers:
            self._select(self.doubt.numbers[min(last, len(self.doubt.numbers) - 1)])

    def _now(self) -> int | None:
        """Where in the list of doubts the selected droplet is."""
        chosen = self.session.selected
        numbers = self.doubt.numbers
        return numbers.index(chosen[0]) if len(chosen) == 1 and chosen[0] in numbers else None

    def _go(self, step: int) -> None:
        self._update_doubt()
        chosen = self.session.selected
        number = following(self.doubt.numbers, chosen[0] if len(chosen) == 1 else None, step)
        if number is not None:
            self._select(number)

    def _select(self, number: int) -> None:
        self.session.select([number])
        assert self.session.sheet is not None
        row = self.session.sheet.table.loc[[number]].iloc[0]
        self._look_at(float(row["x"]), float(row["y"]), float(row["radius"]), self._plane(row))

    def _plane(self, row: pd.Series) -> Plane:
        """The plane of a stack that a droplet is on; empty for a single image."""
        sheet = self.session.sheet
        return () if sheet is None else tuple(int(row[axis]) for axis in sheet.image.axes)

    # drawing

    def _update_doubt(self) -> None:
        sheet = self.session.sheet
        if sheet is None:
            self.doubt = Doubt([], [])
        else:
            shown = passes(Filters.of(self.session.filters), sheet.table, sheet.image.shape)
            self.doubt = doubtful(sheet.table, shown)

    def draw(self) -> None:
        """Show the droplet that is selected, the first of several."""
        self._update_doubt()
        sheet, chosen = self.session.sheet, self.session.selected
        n = len(self.doubt.numbers)
        self._left.setText("No droplets yet" if sheet is None else f"{n:,} to look at" if n else "Nothing in doubt")
        for made in (self.previous_button, self.next_button):
            made.setEnabled(n > 0)
        for box in self.layer_boxes.values():
            box.setEnabled(sheet is not None and bool(sheet.fits))
        self.confirm_button.setEnabled(bool(chosen))
        while self._facts.rowCount():
            self._facts.removeRow(0)
        self._why.setVisible(False)
        if sheet is None or not chosen:
            self._heading.setText(
                "Select a droplet to see how well it is known: click its ring with the tool Select points (key 3), or "
                "press Next doubtful."
            )
            for one in self._pieces.values():
                one.setVisible(False)
            self._bar.set_parts([], None)
            return
        row = sheet.table.loc[[chosen[0]]].iloc[0]
        at = self._now()
        many = f", the first of {len(chosen):,} selected" if len(chosen) > 1 else ""
        self._heading.setText(f"<b>Droplet {chosen[0]}</b>{many}")
        if at is not None:
            self._why.setText(f"{at + 1} of {n:,}: {self.doubt.reasons[at]}")
            self._why.setVisible(True)
        pixel = Droplets.from_dataframe(sheet.table).pixel_size_um
        for name, value in facts(row, None if pixel is None else mean_side(pixel)):
            if name == "Class":
                value = self._named(row, value)
            self._facts.addRow(name, QLabel(value))
        self._draw_pieces(row)
        self._bar.set_parts(parts(row), None)

    def _named(self, row: pd.Series, value: str) -> str:
        word = value.split(" (")[0]
        name = self.session.class_names.get(word)
        return value if name is None else value.replace(word, name, 1)

    def _draw_pieces(self, row: pd.Series) -> None:
        pictures = self._pictures(self._plane(row))
        x, y, radius = (float(row[c]) for c in ("x", "y", "radius"))
        half = half_side(radius)
        limits = pictures.limits
        for name, picture in (("image", pictures.image), ("model", pictures.model)):
            view = self._pieces[name]
            view.setVisible(picture is not None)
            if picture is not None:
                cut = piece(picture, x, y, half)
                limits = limits or _limits(cut.pixels)
                view.set(_rgb(cut.pixels, limits), name.capitalize(), (cut.x, cut.y, radius))
        image, model, noise = pictures.image, pictures.model, pictures.noise
        view = self._pieces["residual"]
        view.setVisible(image is not None and model is not None and noise is not None)
        if image is not None and model is not None and noise is not None:
            cut = piece(image, x, y, half)
            rest = signed_residual(cut.pixels - piece(model, x, y, half).pixels, noise)
            view.set(residual_colors(rest), "Residual", (cut.x, cut.y, radius))

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        steps, pictures = QHBoxLayout(), QHBoxLayout()
        for made in (self.previous_button, self.next_button):
            steps.addWidget(made)
        layout.addLayout(steps)
        second = QHBoxLayout()
        second.addWidget(self._left, 1)
        second.addWidget(self.confirm_button)
        layout.addLayout(second)
        layout.addWidget(self._heading)
        layout.addWidget(self._why)
        pictures.setSpacing(4)
        for one in self._pieces.values():
            pictures.addWidget(one)
        pictures.addStretch(1)
        layout.addLayout(pictures)
        self._facts.setContentsMargins(0, 0, 0, 0)
        self._facts.setVerticalSpacing(2)
        layout.addLayout(self._facts)
        layout.addWidget(self._bar)
        over = QHBoxLayout()
        over.addWidget(QLabel("On the whole image:"))
        for box in self.layer_boxes.values():
            over.addWidget(box)
        over.addStretch(1)
        layout.addLayout(over)
        layout.addStretch(1)


class Picture(QLabel):
    """A small picture with a title and a thin ring where the droplet is."""

    def __init__(self) -> None:
        super().__init__()
        self.setAlignment(Qt.AlignCenter)
        self._title = ""

    def set(self, rgb: np.ndarray, title: str, ring: tuple[float, float, float]) -> None:
        """Show (side, side, 3) bytes, and a ring of x, y, radius in its pixels."""
        side = rgb.shape[0]
        rgb = np.ascontiguousarray(rgb)
        image = QImage(rgb.data, side, side, 3 * side, QImage.Format_RGB888)
        room = PICTURE + self.fontMetrics().height()
        made = QPixmap(PICTURE, room)
        made.fill(Qt.transparent)
        painter = QPainter(made)
        painter.drawImage(QRectF(0, 0, PICTURE, PICTURE), image)
        scale = PICTURE / side
        x, y, radius = ((ring[0] + 0.5) * scale, (ring[1] + 0.5) * scale, ring[2] * scale)
        painter.setRenderHint(QPainter.Antialiasing)
        for width, color in ((2.5, QColor(0, 0, 0, 150)), (1.0, QColor(255, 255, 255, 230))):
            painter.setPen(QPen(color, width))
            painter.drawEllipse(QPointF(x, y), radius, radius)
        painter.setPen(self.palette().windowText().color())
        painter.drawText(QRectF(0, PICTURE, PICTURE, room - PICTURE), Qt.AlignCenter, title)
        painter.end()
        self.setPixmap(made)


class CompositionBar(QWidget):
    """Bars of what a droplet is made of, with their 95 % intervals."""

    ROW = 18

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[Part] = []
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)

    def set_parts(self, found: list[Part], _: Any = None) -> None:
        """Show these."""
        self._parts = found
        self.setFixedHeight(self.ROW * len(found))
        self.setToolTip("\n".join(_part_text(part) for part in found))
        self.update()

    def sizeHint(self) -> QSize:
        """As high as there are components."""
        return QSize(200, self.ROW * len(self._parts))

    def paintEvent(self, _: Any) -> None:
        """Draw a bar for each component."""
        from ...plot.colors import composition_colors

        if not self._parts:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.Antialiasing)
        k = len(self._parts)
        colors = composition_colors(np.array([[self._parts[0].share]]) if k == 1 else np.eye(k))
        ink = self.palette().windowText().color()
        metrics = self.fontMetrics()
        left = metrics.horizontalAdvance("component 10 ")
        right = metrics.horizontalAdvance(" 0.00 ± 0.00")
        room = max(self.width() - left - right, 20)
        for i, part in enumerate(self._parts):
            top, middle = i * self.ROW, (i + 0.5) * self.ROW
            painter.setPen(ink)
            painter.drawText(QRectF(0, top, left, self.ROW), Qt.AlignLeft | Qt.AlignVCenter, part.name)
            text = f"{part.share:.2f}" + ("" if part.error is None else f" ± {part.error:.2f}")
            painter.drawText(QRectF(left + room, top, right, self.ROW), Qt.AlignRight | Qt.AlignVCenter, text)
            frame = QRectF(left, top + 3, room, self.ROW - 6)
            painter.fillRect(frame, QColor(128, 128, 128, 60))
            share = float(np.clip(part.share, 0, 1))
            color = QColor.fromRgbF(*map(float, colors[min(i, len(colors) - 1)]))
            painter.fillRect(QRectF(left, top + 3, room * share, self.ROW - 6), color)
            if part.error is not None:
                low, high = np.clip([part.share - part.error, part.share + part.error], 0, 1)
                painter.setPen(QPen(ink, 1.5))
                painter.drawLine(QPointF(left + room * low, middle), QPointF(left + room * high, middle))
        painter.end()


def _part_text(part: Part) -> str:
    return f"{part.name}: {part.share:.3f}" + ("" if part.error is None else f" ± {part.error:.3f} (95 %)")


def _limits(pixels: np.ndarray) -> tuple[float, float]:
    """What is shown black and white: of colors 0 and 1, of gray what there is."""
    known = pixels[np.isfinite(pixels)]
    if pixels.shape[-1] >= 3 or not len(known):
        return 0.0, 1.0
    low, high = np.percentile(known, (0.5, 99.5))
    return float(low), float(high)


def _rgb(pixels: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """(h, w, C) numbers as (h, w, 3) bytes; gray beyond the border."""
    low, high = limits
    pixels = np.where(np.isfinite(pixels), (pixels - low) / max(high - low, 1e-9), 0.5)
    pixels = np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] < 3 else pixels[..., :3]
    return (255 * np.clip(pixels, 0, 1)).astype(np.uint8)


def _label() -> QLabel:
    made = QLabel()
    made.setWordWrap(True)
    made.setSizePolicy(QSizePolicy.Ignored, QSizePolicy.Preferred)
    return made
