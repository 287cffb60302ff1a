"""The session: all that one panel works on, and the signals that views follow.

How a view is built on it (`widget.session` is the one of a panel; tests make `Session()` and need no window)::

    class Inspector(QWidget):
        def __init__(self, session):
            self.session = session
            session.sheet_changed.connect(self.draw)       # another image's droplets are worked on, or none
            session.table_changed.connect(self.draw)       # rows of the current sheet: edit, undo, refit, run
            session.selection_changed.connect(self.draw)   # other droplets are selected
            session.filters_changed.connect(self.draw)

        def draw(self):
            sheet = self.session.sheet                     # a `Sheet`, or None
            rows = sheet.table.loc[list(self.session.selected)]   # DataFrame, its index are droplets' numbers
            sheet.fit                                      # the Fit, None where droplets were only detected
            ...
        def next(self):
            self.session.select([number])                  # the canvas selects and follows

Signals are psygnal's: they are emitted in the thread of the window, hold methods weakly, and take as many of their
arguments as the callback has. Droplets are told by their numbers (the index of `table`), which edits, undo and refits
leave alone; rows of the table and points of the layer have no fixed order. Hidden droplets are in the table, too:
`shown` says which are on the canvas.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from psygnal import Signal

from .filters import NO_CLASS
from .sheet import Sheet


class Session:
    """What one panel works on.

    Attributes
    ----------
    sheets : list of Sheet
        The droplets of an image each; one for every Points layer of ours.
    sheet : Sheet or None
        The one worked on now.
    selected : tuple of int
        Numbers of the droplets selected in it.
    filters : dict
        What the filters are set to, and `class_names`, as JSON can hold it: {} hides nothing. Saved with the session.
    settings : dict
        What the form says, likewise.
    """

    sheet_changed = Signal(object)
    """Another sheet, or None, is worked on."""
    table_changed = Signal(object, object)
    """Of the current sheet: the `Sheet`, and numbers of the droplets whose rows are others now, or gone."""
    selection_changed = Signal(tuple)
    filters_changed = Signal(dict)
    classes_named = Signal(dict)
    stepped = Signal(object)
    """The `Sheet` whose journal, table or fit has changed, current or not: what autosave follows."""

    def __init__(self) -> None:
        self.sheets: list[Sheet] = []
        self.sheet: Sheet | None = None
        self.selected: tuple[int, ...] = ()
        self.filters: dict[str, Any] = {}
        self.settings: dict[str, Any] = {}

    def add(self, sheet: Sheet) -> Sheet:
        """Take a sheet in; it becomes no current one by that."""
        if sheet not in self.sheets:
            self.sheets.append(sheet)
            sheet.changed.connect(self._on_changed)
            self.stepped.emit(sheet)
        return sheet

    def remove(self, sheet: Sheet) -> None:
        """Its layer is gone."""
        if sheet in self.sheets:
            sheet.changed.disconnect(self._on_changed)
            self.sheets.remove(sheet)
            if self.sheet is sheet:
                self.show(None)
            self.stepped.emit(sheet)

    def show(self, sheet: Sheet | None) -> None:
        """Work on this sheet from now on."""
        if sheet is not self.sheet:
            self.sheet, self.selected = sheet, ()
            self.sheet_changed.emit(sheet)
            self.selection_changed.emit(())

    def select(self, numbers: Iterable[int]) -> None:
        """Select droplets of the current sheet; numbers that it has not are left out."""
        there = set() if self.sheet is None else set(self.sheet.table.index)
        chosen = tuple(sorted({int(n) for n in numbers} & there))
        if chosen != self.selected:
            self.selected = chosen
            self.selection_changed.emit(chosen)

    def set_filters(self, **filters: Any) -> None:
        """Set filters by name; None takes one off."""
        new = {k: v for k, v in (self.filters | filters).items() if v is not None}
        if new != self.filters:
            named = new.get("class_names") != self.filters.get("class_names")
            self.filters = new
            self.filters_changed.emit(new)
            if named:
                self.classes_named.emit(self.class_names)

    @property
    def class_names(self) -> dict[str, str]:
        """What the user calls classes: names by the text of the class in the table."""
        return dict(self.filters.get("class_names", {}))

    def class_name(self, word: str) -> str:
        """What a class is called."""
        return self.class_names.get(word) or ("no class" if word == NO_CLASS else f"class {word}")

    def name_class(self, word: str, name: str) -> None:
        """Call a class by a name; an empty one takes the name away. The table keeps what it has."""
        names = {k: v for k, v in (self.class_names | {word: name.strip()}).items() if v}
        self.set_filters(class_names=names or None)

    def undo(self) -> bool:
        """Take back the last edit of the current sheet; whether there was one."""
        return self.sheet is not None and self.sheet.undo()

    def redo(self) -> bool:
        """Do again what was undone last in the current sheet; whether there was something."""
        return self.sheet is not None and self.sheet.redo()

    def _on_changed(self, sheet: Sheet, numbers: Any) -> None:
        if sheet is self.sheet:
            left = set(self.selected) & set(sheet.table.index)
            if len(left) < len(self.selected):
                self.selected = tuple(sorted(left))
                self.selection_changed.emit(self.selected)
            self.table_changed.emit(sheet, numbers)
        self.stepped.emit(sheet)
