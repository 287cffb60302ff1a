"""Progress in napari's activity dock, beside that of the panel."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QProgressBar

WORDS = "Find droplets"


class Activity:
    """Follows the progress bar of the panel.

    Parameters
    ----------
    bar : QProgressBar
        Where nobody knows for how long, its maximum is 0.
    words : str
        What is done.
    """

    def __init__(self, bar: QProgressBar, words: str = WORDS) -> None:
        self._bar, self._words = bar, words
        self._shown: Any = None
        bar.valueChanged.connect(self._update)

    def begin(self) -> None:
        """Work has begun."""
        from napari.utils import progress

        self.end()
        self._shown = progress(total=0, desc=self._words, gui=True)  # else it is drawn in the terminal, too

    def end(self) -> None:
        """It has ended."""
        if self._shown is not None:
            self._shown.close()
            self._shown = None

    def _update(self, value: int) -> None:
        if self._shown is None or self._bar.maximum() <= 0:
            return
        if self._shown.total != self._bar.maximum():
            self._shown.total = self._bar.maximum()
        self._shown.update(value - self._shown.n)
