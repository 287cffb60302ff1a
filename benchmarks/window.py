"""How the window feels: seconds to open the dock widget, and the longest time it does not answer during a fit.

    python benchmarks/window.py [IMAGE] [--steps N] [--detect-first [SECONDS]] [--fit FOLDER]

A timer that should tick every 5 ms measures the gaps; the fit of the packaged sample (or of IMAGE) runs as from the
button, after Detect and a look at the proposals if asked for. Then droplets are moved, one after the other: seconds
until their surroundings are refitted, and to undo it, beside the seconds of the processor that the window's thread
takes. With --fit that is all, on a fit that was saved. JAX_ENABLE_COMPILATION_CACHE=false leaves out programs that were
kept on disk. Needs a screen with OpenGL: xvfb-run -s "-screen 0 1600x1000x24" python benchmarks/window.py
"""

import argparse
import time

import napari
import napari.layers
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QWidget

TICK_MS = 5
CORRECTIONS = 4
"""Droplets that are moved, after one for what is done the first time alone."""
LONGEST = 900  # seconds for one fit


def main() -> None:
    """Open, run twice (the second time nothing is compiled), print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="?")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument(
        "--detect-first",
        nargs="?",
        type=float,
        const=LONGEST,
        metavar="SECONDS",
        help="look at proposals for so long, or until all is compiled",
    )
    parser.add_argument("--fit", metavar="FOLDER", help="measure corrections of this fit, and nothing else")
    args = parser.parse_args()

    viewer = napari.Viewer(show_welcome_screen=False)
    if args.fit:
        viewer.open(args.fit, plugin="napari-droplets")
    elif args.image:
        viewer.open(args.image)
    else:
        viewer.open_sample("napari-droplets", "sample")
    _settle(1)
    begin = time.perf_counter()
    _, widget = viewer.window.add_plugin_dock_widget("napari-droplets")
    QApplication.processEvents()
    print(f"dock widget open      {time.perf_counter() - begin:8.3f} s")
    widget.form.set(steps=args.steps)
    runs = [] if args.fit else [("first run", widget.run), ("second run", widget.run)]
    if args.detect_first is not None:
        runs.insert(0, ("detection", widget.detect))
    for name, press in runs:
        gaps: list[tuple[float, str]] = []
        last = time.perf_counter()

        def tick() -> None:
            nonlocal last
            now = time.perf_counter()
            gaps.append((now - last, widget.message))  # noqa: B023 (used within this turn)
            last = now

        timer = QTimer()
        timer.timeout.connect(tick)
        timer.start(TICK_MS)
        _settle(0.5)
        gaps.clear()
        begin = time.perf_counter()
        press()
        returned = time.perf_counter() - begin
        first_points = None
        while widget.busy and time.perf_counter() < begin + LONGEST:
            QApplication.processEvents()
            if first_points is None and any(isinstance(layer, napari.layers.Points) for layer in viewer.layers):
                first_points = time.perf_counter() - begin
            time.sleep(0.001)
        done = time.perf_counter() - begin
        _settle(1)
        if name == "detection":
            while widget.preparing and time.perf_counter() < begin + done + args.detect_first:
                _settle(0.1)
            print(f"proposals looked at for {time.perf_counter() - begin - done:.1f} s")
        timer.stop()
        ordered = sorted((gap for gap, _ in gaps), reverse=True)
        print(f"{name}: returned after {returned * 1e3:.1f} ms, done after {done:.1f} s")
        if first_points is not None:
            print(f"  points after          {first_points:.1f} s")
        print(f"  longest gaps          {', '.join(f'{g * 1e3:.0f}' for g in ordered[:6])} ms")
        print(f"  gaps over 100 ms      {sum(g > 0.1 for g in ordered)} of {len(ordered)}")
        for gap, message in sorted(gaps, reverse=True)[:3]:
            print(f"    {gap * 1e3:6.0f} ms at: {message}")
        print(f"  ended with            {widget.message}")
    _correct(viewer, widget)
    viewer.close()


def _correct(viewer: napari.Viewer, widget: QWidget) -> None:
    """Move droplets as the mouse does, wait for their surroundings, take it back."""
    [points] = [layer for layer in viewer.layers if isinstance(layer, napari.layers.Points)][-1:]
    viewer.layers.selection.active = points
    while widget.preparing:
        _settle(0.1)
    print(f"corrections of {len(points.data):,} droplets")
    for i in (0, *np.linspace(0, len(points.data) - 1, CORRECTIONS).astype(int)):
        gaps, last = [], time.perf_counter()

        def tick() -> None:
            nonlocal last
            now = time.perf_counter()
            gaps.append(now - last)  # noqa: B023 (used within this turn)
            last = now

        timer = QTimer()
        timer.timeout.connect(tick)
        timer.start(TICK_MS)
        begin, busy = time.perf_counter(), time.thread_time()
        points._move({int(i)}, points.data[i])
        points._move({int(i)}, points.data[i] + 0.7)
        points._drag_start = None
        edited = time.perf_counter() - begin, time.thread_time() - busy
        busy = time.process_time()
        while widget.refitting:
            QApplication.processEvents()
            time.sleep(0.01)
        refitted = time.perf_counter() - begin, time.process_time() - busy
        longest = max(gaps)
        begin, busy = time.perf_counter(), time.thread_time()
        widget.undo()
        undone = time.perf_counter() - begin, time.thread_time() - busy
        _settle(0.5)
        timer.stop()
        for name, (seconds, of_processor) in (("moved", edited), ("refitted", refitted), ("undone", undone)):
            print(f"  {name} {seconds:6.3f} s (processor {of_processor:5.3f} s)", end="")
        print(f"  longest gap {longest * 1e3:4.0f} ms")


def _settle(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.001)


if __name__ == "__main__":
    main()
