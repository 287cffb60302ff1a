"""How the window feels: seconds to open the dock widget, and the longest time it does not answer during a fit.

    python benchmarks/window.py [IMAGE] [--steps N] [--detect-first [SECONDS]] [--fit FOLDER] [--stacks FILE]

A timer that should tick every 5 ms measures the gaps; the fit of the packaged sample (or of IMAGE) runs as from the
button, after Detect and a look at the proposals if asked for. Then droplets are moved, one after the other: seconds
until their surroundings are refitted, and to undo it, beside the seconds of the processor that the window's thread
takes. With --fit that is all, on a fit that was saved.

Gaps are told in seconds of the clock, and in those that the processor worked for this process meanwhile, to which other
programs add little. With --stacks what all threads do is written down whenever the latter pass 100 ms, by a signal that
needs no interpreter lock. JAX_ENABLE_COMPILATION_CACHE=false leaves out programs that were kept on disk. Needs a screen
with OpenGL: xvfb-run -s "-screen 0 1600x1000x24" python benchmarks/window.py
"""

import argparse
import faulthandler
import signal
import time

import napari
import napari.layers
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QWidget

TICK_MS = 5
GAP = 0.1
"""Seconds without an answer that are felt."""
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
    parser.add_argument("--stacks", type=argparse.FileType("w"), metavar="FILE", help="what is going on in long gaps")
    args = parser.parse_args()
    if args.stacks is not None:
        faulthandler.register(signal.SIGPROF, args.stacks)

    viewer = napari.Viewer(show_welcome_screen=False)
    if args.fit:
        viewer.open(args.fit, plugin="napari-droplets")
    elif args.image:
        viewer.open(args.image)
    else:
        viewer.open_sample("napari-droplets", "sample")
    _settle(1)
    begin = _clocks()
    _, widget = viewer.window.add_plugin_dock_widget("napari-droplets")
    QApplication.processEvents()
    clock, processor, _ = _clocks() - begin
    print(f"dock widget open      {clock:8.3f} s (processor {processor:.3f} s)")
    widget.form.set(steps=args.steps)
    runs = [] if args.fit else [("first run", widget.run), ("second run", widget.run)]
    if args.detect_first is not None:
        runs.insert(0, ("detection", widget.detect))
    for name, press in runs:
        gaps: list[tuple[float, float, float, str]] = []
        last = _clocks()

        def tick() -> None:
            nonlocal last
            now = _clocks()
            gap = now - last
            gaps.append((*gap, widget.message))  # noqa: B023 (used within this turn)
            if args.stacks is not None:
                if gap[1] > GAP:
                    text = " / ".join(f"{1e3 * seconds:.0f}" for seconds in gap)
                    print(f"-- {text} ms at: {widget.message}\n", file=args.stacks, flush=True)
                signal.setitimer(signal.ITIMER_PROF, GAP)
            last = now

        timer = QTimer()
        timer.timeout.connect(tick)
        timer.start(TICK_MS)
        _settle(0.5)
        gaps.clear()
        begin, before = time.perf_counter(), time.process_time()
        press()
        returned = time.perf_counter() - begin
        first_points = None
        while widget.busy and time.perf_counter() < begin + LONGEST:
            QApplication.processEvents()
            if first_points is None and any(isinstance(layer, napari.layers.Points) for layer in viewer.layers):
                first_points = time.perf_counter() - begin, time.process_time() - before
            time.sleep(0.001)
        done = time.perf_counter() - begin
        _settle(1)
        if name == "detection":
            while widget.preparing and time.perf_counter() < begin + done + args.detect_first:
                _settle(0.1)
            print(f"proposals looked at for {time.perf_counter() - begin - done:.1f} s")
        timer.stop()
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(f"{name}: returned after {returned * 1e3:.1f} ms, done after {done:.1f} s")
        if first_points is not None:
            print(f"  points after          {first_points[0]:.1f} s (processor {first_points[1]:.1f} s)")
        for of, at in (("the clock", 0), ("the processor", 1)):
            ordered = sorted((gap[at] for gap in gaps), reverse=True)
            print(f"  longest gaps          {', '.join(f'{g * 1e3:.0f}' for g in ordered[:6])} ms of {of}")
            print(f"    over 100 ms         {sum(g > GAP for g in ordered)} of {len(ordered)}", end="")
            print(f", median {np.median(ordered) * 1e3:.0f} ms")
        for clock, processor, thread, message in sorted(gaps, key=lambda gap: gap[1], reverse=True)[:6]:
            text = (
                f"{clock * 1e3:6.0f} ms, {processor * 1e3:6.0f} of the processor, {thread * 1e3:6.0f} of the window's"
            )
            print(f"    {text} thread, at: {message.splitlines()[0] if message else ''}")
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


def _clocks() -> np.ndarray:
    """Seconds: of the clock, of the processor for this process, and for this thread alone."""
    return np.array([time.perf_counter(), time.process_time(), time.thread_time()])


def _settle(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.001)


if __name__ == "__main__":
    main()
