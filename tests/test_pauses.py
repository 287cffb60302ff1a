"""Python looks through all objects when nobody moves the pointer, and as ever once no panel is open."""

import gc
import sys

import pytest
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QWidget

from napari_droplets.plugin.jobs import pauses
from napari_droplets.plugin.jobs.pauses import DUE, FULL, SWITCH, Pauses


@pytest.fixture
def parent(qtbot):
    made = QWidget()
    qtbot.addWidget(made)
    return made


def test_all_is_as_it_was_when_the_last_panel_is_closed(parent):
    before = gc.get_threshold(), sys.getswitchinterval()
    one, other = Pauses(parent, bool), Pauses(parent, bool)
    assert gc.get_threshold() == (*before[0][:2], FULL)
    assert sys.getswitchinterval() == pytest.approx(SWITCH)
    one.close()
    one.close()
    assert gc.get_threshold()[2] == FULL
    other.close()
    assert (gc.get_threshold(), sys.getswitchinterval()) == before


def test_garbage_is_collected_while_the_pointer_rests(parent, monkeypatch):
    collected, at, count = [], QPoint(3, 4), [0, 0, DUE]
    monkeypatch.setattr(pauses.QCursor, "pos", lambda: at)
    monkeypatch.setattr(gc, "get_count", lambda: tuple(count))
    monkeypatch.setattr(gc, "collect", lambda: collected.append(1))
    working = [True]
    made = Pauses(parent, lambda: bool(working))
    made._look()
    assert not collected
    working.clear()
    made._look()
    assert len(collected) == 1
    at = QPoint(5, 4)
    made._look()
    assert len(collected) == 1
    made._look()
    assert len(collected) == 2
    count[2] = DUE - 1
    made._look()
    assert len(collected) == 2
    made.close()
