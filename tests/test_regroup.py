"""Droplets sorted into another number of classes without a new fit: of a fit, and in the panel."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logit

import napari_droplets as nd
from napari_droplets.composition.regroup import tells_of_class
from napari_droplets.errors import InputError

TIMEOUT = 300_000  # milliseconds; most that anything may take on a machine that is busy


def columns(table):
    return table[[c for c in table if tells_of_class(c)]]


def test_as_many_classes_as_asked_for_and_nothing_else_changes(fitted):
    two = nd.regroup(fitted, 2)
    assert set(two.table["class"]) == {0, 1}
    assert [row["class"] for row in two.summary["classes"]] == [0, 1]
    assert two.optics.classes == two.summary["class_mixture"]
    assert two.summary["settings"]["classes"] == 2
    others = [c for c in fitted.table if not tells_of_class(c)]
    assert two.table[others].equals(fitted.table[others])
    assert two.reconstruction is fitted.reconstruction


def test_as_many_as_can_be_told_are_those_of_the_fit(fitted):
    again = nd.regroup(nd.regroup(fitted, 2))
    assert columns(again.table).equals(columns(fitted.table))
    assert again.summary["classes"] == fitted.summary["classes"]


def test_classes_with_names(fitted):
    named = nd.regroup(fitted, names=["acid", "base"])
    assert set(named.table["class"]) == {"acid", "base"}
    assert {"class_p_acid", "class_p_base"} <= set(named.table)
    plain = nd.regroup(named, 2)
    assert set(plain.table["class"]) == {0, 1}
    assert "class_p_acid" not in plain.table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 0}, "classes"),
        ({"classes": 3, "names": ["a", "b"]}, "2 names for 3 classes"),
    ],
)
def test_wrong_use(fitted, arguments, message):
    with pytest.raises(InputError, match=message):
        nd.regroup(fitted, **arguments)


def test_more_classes_than_droplets_differ(fitted):
    guide = fitted.guide | {"droplets_tril": np.zeros_like(fitted.guide["droplets_tril"])}
    guide["droplets"] = np.repeat(fitted.guide["droplets"][:1], len(guide["droplets"]), axis=0)
    with pytest.raises(InputError, match="no more than 1"):
        nd.regroup(replace(fitted, guide=guide), 2)


@pytest.fixture
def done(viewer, open_widget, qtbot, fake):
    """A panel after Run, of droplets in two groups of compositions."""
    fake.labels = {"class": np.zeros(fake.n, int), "class_p": np.ones(fake.n)}
    plain = fake.result

    def result(image, droplets, *rest):
        fit = plain(image, droplets, *rest)
        n, k = droplets.composition.shape
        composition = np.where((np.arange(n) % 3 == 0)[:, None], 0.2, 0.8) + 0.01 * droplets.composition
        tril = np.tile(0.1 * np.eye(3 + k, dtype=np.float32), (n, 1, 1))
        mean = np.column_stack([np.zeros((n, 3)), logit(composition)]).astype(np.float32)
        optics = replace(fit.optics, classes={"weight": [1.0]})
        summary = fit.summary | {"class_mixture": optics.classes}
        return replace(fit, guide=fit.guide | {"droplets": mean, "droplets_tril": tril}, optics=optics, summary=summary)

    fake.result = result
    viewer.add_image(np.random.default_rng(0).uniform(size=(34, 40, 3)), name="slide")
    widget = open_widget(viewer)
    widget.run()
    qtbot.waitUntil(lambda: not widget.busy, timeout=TIMEOUT)
    return widget


def regrouped(widget, qtbot, *arguments, **options):
    widget.regroup(*arguments, **options)
    qtbot.waitUntil(lambda: not widget.busy, timeout=TIMEOUT)
    return widget.session.sheet


def test_the_control_sorts_anew_and_undo_takes_it_back(done, viewer, qtbot, tmp_path):
    sheet, points = done.session.sheet, viewer.layers["slide droplets"]
    before, fit = sheet.table.copy(), sheet.fit
    done.session.name_class("0", "oil")
    done.views.plots.number.setValue(2)
    done.views.plots.sort_button.click()
    qtbot.waitUntil(lambda: not done.busy, timeout=TIMEOUT)
    groups = sheet.table["class"].to_numpy()
    assert (groups == np.where(np.arange(len(groups)) % 3 == 0, 1, 0)).all()  # the most frequent one is the first
    assert list(points.features["class"]) == list(groups)
    assert sheet.fit.table["class"].equals(sheet.table["class"].rename_axis(None))
    assert done.result is sheet.fit
    assert [step.kind for step in done.journal] == ["class"]
    assert done.form.values()["classes"] == 2
    assert done.session.class_names == {}  # it was the name of another class
    assert "2 classes" in done.message

    done.save_session(tmp_path / "work.droplets")
    assert done.undo()
    assert sheet.table.equals(before)
    assert sheet.fit.optics.classes == fit.optics.classes
    assert sheet.fit.summary == fit.summary
    assert done.redo()
    assert list(points.features["class"]) == list(groups)

    from napari_droplets.workbench.storing import read_session

    [restored] = read_session(tmp_path / "work.droplets").sheets
    assert list(restored.table["class"]) == list(groups)
    assert restored.fit.optics.classes == sheet.fit.optics.classes
    assert restored.undo()
    assert list(restored.table["class"]) == list(before["class"])
    assert restored.fit.optics.classes == fit.optics.classes


def test_what_was_sorted_by_hand_stays(done, qtbot):
    done.session.select([0, 4])
    done.classify(7)
    sheet = regrouped(done, qtbot, 2)
    assert list(sheet.table["class"].loc[[0, 4]]) == [7, 7]
    assert "2 sorted by hand" in done.message
    sheet = regrouped(done, qtbot, names=["oil", "water"])
    assert list(sheet.table["class"].loc[[0, 1, 3, 4]]) == [7, "oil", "water", 7]
    assert np.isnan(sheet.table["class_p_oil"].loc[0])
    while done.undo():
        pass
    assert set(sheet.table["class"]) == {0}
    assert "class_p_oil" not in sheet.table


def test_what_has_no_fit_is_not_sorted(done, viewer, qtbot, notices):
    done.detect()
    qtbot.waitUntil(lambda: not done.busy, timeout=TIMEOUT)
    viewer.layers.selection.active = viewer.layers[-1]
    done.regroup(2)
    assert "press Run first" in done.message
