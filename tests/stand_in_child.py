"""Speaks as `napari_droplets.training.child` does, without training: what a job does is named in its options."""

import json
import sys
import threading
import time
from pathlib import Path

job = json.loads(sys.stdin.readline())
stop = threading.Event()


def listen():
    sys.stdin.readline()
    stop.set()


def tell(event, **message):
    print(json.dumps({"event": event} | message), flush=True)


threading.Thread(target=listen, daemon=True).start()
acts = job["options"]["acts"]
Path(job["output"]).with_suffix(".job.json").write_text(json.dumps(job))
print("a library that talks")
for step in range(1, 5):
    tell("progress", step=step, share=step / 4, text="", calibrating=False)
    if acts == "dies":
        sys.exit("Traceback: out of luck")
    if acts == "fails":
        tell("error", message="weights: cannot be used")
        sys.exit(1)
    if acts == "waits" and stop.wait(30):
        tell("stopped")
        sys.exit(0)
    while acts == "is deaf":
        time.sleep(0.02)
tables = Path(job["tables"])
tables.mkdir(parents=True, exist_ok=True)
for i, path in enumerate(job["compare"]):
    rows = ["x,y,radius", "3.0,4.0,2.0", "9.0,5.0,3.0", "20.0,6.0,4.0"]
    (tables / f"{i}_before.csv").write_text("\n".join(rows[:3]) + "\n")
    (tables / f"{i}_after.csv").write_text("\n".join([rows[0], *rows[2:]]) + "\n")
    record = {"image": Path(path).stem, "before": 2, "after": 2, "new": 1, "gone": 1, "new_rows": [1], "gone_rows": [0]}
    if Path(path).with_suffix(".csv").exists():
        record |= {"recall_before": 0.5, "recall_after": 1.0, "precision_before": 0.5, "precision_after": 1.0}
    tell("compared", **record)
Path(job["output"]).write_bytes(b"learned")
tell("done", output=job["output"])
