"""How the window feels: seconds to open the dock widget, and the longest time it does not answer during a fit.

    python benchmarks/window.py [IMAGE] [--steps N]

A timer that should tick every 5 ms measures the gaps; the fit of the packaged sample (or of IMAGE) runs as from the
button. Needs a screen with OpenGL: xvfb-run -s "-screen 0 1600x1000x24" python benchmarks/window.py
"""

import argparse
import time

import napari
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

TICK_MS = 5
LONGEST = 900  # seconds for one fit


def main() -> None:
    """Open, run twice (the second time nothing is compiled), print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image", nargs="?")
    parser.add_argument("--steps", type=int, default=600)
    args = parser.parse_args()

    viewer = napari.Viewer(show_welcome_screen=False)
    viewer.open(args.image) if args.image else viewer.open_sample("napari-droplets", "sample")
    _settle(1)
    begin = time.perf_counter()
    _, widget = viewer.window.add_plugin_dock_widget("napari-droplets")
    QApplication.processEvents()
    print(f"dock widget open      {time.perf_counter() - begin:8.3f} s")
    widget.form.set(steps=args.steps)
    for name in ("first run", "second run"):
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
        widget.run()
        returned = time.perf_counter() - begin
        while widget.busy and time.perf_counter() < begin + LONGEST:
            QApplication.processEvents()
            time.sleep(0.001)
        _settle(1)
        timer.stop()
        ordered = sorted((gap for gap, _ in gaps), reverse=True)
        print(
            f"{name}: run() returned after {returned * 1e3:.1f} ms, done after {time.perf_counter() - begin - 1:.1f} s"
        )
        print(f"  longest gaps          {', '.join(f'{g * 1e3:.0f}' for g in ordered[:6])} ms")
        print(f"  gaps over 100 ms      {sum(g > 0.1 for g in ordered)} of {len(ordered)}")
        for gap, message in sorted(gaps, reverse=True)[:3]:
            print(f"    {gap * 1e3:6.0f} ms at: {message}")
        print(f"  ended with            {widget.message}")
    viewer.close()


def _settle(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.001)


if __name__ == "__main__":
    main()
