"""Let the package read damaged files for a while: whatever is more than an `InputError` of one line is a finding.

usage: python benchmarks/fuzz.py [--minutes 10] [--only tiff,tables] [--keep FOLDER] [--seed 0] [--engine atheris]

Files of every kind that is read are damaged by Hypothesis and read as the library, the window and the command line do,
in processes of their own, so that one that ends, hangs or eats the memory is a finding too. With `--engine atheris`
(pip install atheris) the damage is guided by which lines of the package it reaches. Each finding is printed once, with
the file that shows it in `--keep`. The exit code is 1 where there are any.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

ROUND = 2000  # files that a process reads before the next kind has its turn
SLOWEST = 20  # seconds; a file of some kB that takes longer is a finding
MOST_MEMORY = 10 * 2**30  # bytes of addresses that a process may have
GROWN = 2**29  # bytes; more for one small file is a finding
HERE = Path(__file__).resolve()


def main() -> int:
    """Run kinds of files in turns until time is up; the exit code."""
    args = _parser().parse_args()
    keep = Path(args.keep or tempfile.mkdtemp(prefix="fuzz-"))
    keep.mkdir(parents=True, exist_ok=True)
    if args.child:
        return _child(args, keep)
    from fuzz_files import KINDS

    kinds = args.only.split(",") if args.only else list(KINDS)
    end, turn, reads, seen = time.monotonic() + 60 * args.minutes, 0, Counter[str](), set[str]()
    while (left := end - time.monotonic()) > 0:
        kind = kinds[turn % len(kinds)]
        reads[kind] += _round(args, keep, kind, turn, min(left, 60 * args.minutes / len(kinds)))
        for finding in _findings(keep):
            if finding["id"] not in seen:
                seen.add(finding["id"])
                print(f"{finding['kind']}: {finding['what']} [{finding['where']}] {finding['file']}", flush=True)
        turn += 1
    print(", ".join(f"{kind} {n:,}" for kind, n in reads.items()), "files read")
    print(f"{len(seen)} findings" + (f" in {keep}" if seen else ""))
    return 1 if seen else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", help="kinds of files, with commas between")
    parser.add_argument("--keep", help="folder for the files that show a finding")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=["hypothesis", "atheris"], default="hypothesis")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    return parser


def _round(args: argparse.Namespace, keep: Path, kind: str, turn: int, seconds: float) -> int:
    """One process for one kind; how many files it read."""
    command = [sys.executable, str(HERE), "--child", kind, "--keep", str(keep), "--seed", str(args.seed + turn)]
    command += ["--engine", args.engine, "--seconds", str(seconds)]
    (keep / "count").unlink(missing_ok=True)
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    current = keep / "current"
    if done.returncode < 0 or (done.returncode and current.exists()):
        sign = signal.Signals(-done.returncode).name if done.returncode < 0 else f"exit code {done.returncode}"
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [""]
        frames = [line.strip() for line in lines if "napari_droplets" in line or "site-packages" in line]
        where = frames[0] if frames else lines[-1]
        name, _, content = current.read_bytes().partition(b"\n") if current.exists() else (b"?", b"", b"")
        _note(keep, kind, f"the process ended: {sign}", where[:200], name.decode(), content)
    elif done.returncode:
        raise SystemExit(done.stderr.decode(errors="replace"))
    return int((keep / "count").read_text()) if (keep / "count").exists() else 0


def _findings(keep: Path) -> list[dict[str, str]]:
    path = keep / "findings.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _note(keep: Path, kind: str, what: str, where: str, name: str, content: bytes) -> None:
    """Keep a finding, where there is none of its kind at that place."""
    key = hashlib.sha256(f"{kind} {what[:60]} {where}".encode()).hexdigest()[:10]
    if key in {f["id"] for f in _findings(keep)}:
        return
    file = keep / f"{kind}-{key}-{Path(name).name}"
    file.write_bytes(content)
    finding = {"id": key, "kind": kind, "what": what, "where": where, "file": str(file)}
    with open(keep / "findings.jsonl", "a", encoding="utf-8") as lines:
        lines.write(json.dumps(finding) + "\n")


def _child(args: argparse.Namespace, keep: Path) -> int:
    """Read damaged files of one kind until time is up."""
    import faulthandler

    from fuzz_files import target

    faulthandler.enable()
    warnings.simplefilter("ignore")
    logging.disable()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process: a library may not come back
    with _instrumented() if args.engine == "atheris" else nullcontext():
        reader = _Reader(keep, args.child, target(args.child), SLOWEST)
        for name, content in reader.target.seeds.items():
            reader.read(name, content, good=True)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    run = _by_atheris if args.engine == "atheris" else _by_hypothesis
    run(reader, args.seed, args.seconds)
    reader.finish()
    return 0


class _Reader:
    """Writes a file, reads it, and notes what it finds."""

    def __init__(self, keep: Path, kind: str, target: Any, slowest: int = 0) -> None:
        self.keep, self.kind, self.target, self.slowest = keep, kind, target, slowest
        self.place = Path(tempfile.mkdtemp(prefix="fuzz-read-"))
        self.count = 0
        for name, content in target.folder.items():
            self._write(name, content)

    def read(self, name: str, content: bytes, *, good: bool = False) -> None:
        """Read one file; a good one must be read without an error."""
        from napari_droplets.errors import InputError

        (self.keep / "current").write_bytes(name.encode() + b"\n" + content)
        path = self._write(name, content)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if self.slowest and not good:
            signal.alarm(self.slowest)
        try:
            self.target.read(path)
        except InputError as error:
            if good:
                raise
            text = str(error)
            if "\n" in text or len(text) > 1000 or not text.strip():
                self._found(f"message of {len(text)} letters: {text[:200]!r}", _place(error), name, content)
            elif not any(part in text for part in path.parts[-4:]) and "mask in the data URI" not in text:
                self._found(f"message without the file: {text[:200]}", _place(error), name, content)
        except Exception as error:
            if good:
                raise
            self._found(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", _place(error), name, content)
        finally:
            if self.slowest:
                signal.alarm(0)
        self.count += 1
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        if grown > GROWN and not good:
            self._found(f"{grown / 2**30:.1f} GB of memory", name, name, content)
        if name in self.target.folder:
            self._write(name, self.target.folder[name])
        if self.count % 50 == 0:
            (self.keep / "count").write_text(str(self.count))

    def finish(self) -> None:
        """Leave nothing but the count."""
        import shutil

        (self.keep / "count").write_text(str(self.count))
        (self.keep / "current").unlink(missing_ok=True)
        shutil.rmtree(self.place, ignore_errors=True)

    def _write(self, name: str, content: bytes) -> Path:
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def _found(self, what: str, where: str, name: str, content: bytes) -> None:
        _note(self.keep, self.kind, what, where, name, content)


def _place(error: BaseException) -> str:
    """The innermost line of the package that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "napari_droplets" in f.filename] or list(frames)
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def _by_hypothesis(reader: _Reader, seed: int, seconds: float) -> None:
    from fuzz_damage import json_in
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded
    from hypothesis import strategies as st

    end = time.monotonic() + seconds
    names = sorted(reader.target.seeds)
    files = st.sampled_from(names).flatmap(lambda n: st.tuples(st.just(n), json_in(reader.target.seeds[n])))

    @seeded(seed)
    @settings(
        max_examples=ROUND,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(files)
    def run(file: tuple[str, bytes]) -> None:
        if time.monotonic() > end:
            raise TimeoutError
        reader.read(*file)

    with suppress(TimeoutError):
        run()


def _instrumented() -> Any:
    """A context in which modules of the package are imported so that atheris sees which of their lines are reached."""
    import atheris  # type: ignore[import-not-found]

    return atheris.instrument_imports(include=["napari_droplets"])


def _by_atheris(reader: _Reader, seed: int, seconds: float) -> None:
    """Guided by coverage of the package; the first byte says which of the good files it was."""
    import atheris  # type: ignore[import-not-found]

    names = sorted(reader.target.seeds)
    corpus = Path(tempfile.mkdtemp(prefix="fuzz-corpus-"))
    for i, name in enumerate(names):
        (corpus / str(i)).write_bytes(bytes([i]) + reader.target.seeds[name])

    def run(content: bytes) -> None:
        if content:
            reader.read(names[content[0] % len(names)], content[1:])

    options = [f"-max_total_time={int(seconds)}", f"-seed={seed + 1}", "-max_len=200000", "-rss_limit_mb=0"]
    os.environ["PYTHONUNBUFFERED"] = "1"
    atheris.Setup([sys.argv[0], *options, str(corpus)], run)
    import atexit

    atexit.register(reader.finish)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
