"""Read damaged files of every format through the public reader, and count how each ended.

``PYTHONPATH=.:tests/fuzz python tests/benchmarks/fuzz.py --count 20000 [--seed 0] [--keep FOLDER] [--more FILE...]``

A failure is: an error that is not one of ours, a read in this process of more than 10 s of processor time, memory
beyond what `ROOM` allows, or the death of this process. What the decoders' own process took (crashes, hangs, memory)
is contained, and counted.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import resource
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from corpus import seeds
from mutate import mutant

from restore.errors import RestoreError
from restore.files import Limits, read, read_stack

LIMITS = Limits(max_pixels=2_000_000, max_seconds=5)
ROOM = 400 << 20
"""Address space this process may take on top of its start: a picture at the limit needs a tenth."""
CONTAINED = {"its decoder crashed": "crash", "decoding takes more than": "hang", "wants more memory": "memory"}


def hold_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM, resource.RLIM_INFINITY))


def ended(path: Path) -> str:
    """Read a file; return how that ended."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            list(read_stack(path, limits=LIMITS)) if path.name.startswith("stack") else read(path, limits=LIMITS)
    except RestoreError as error:
        return next((f"contained {word}" for text, word in CONTAINED.items() if text in str(error)), "refused")
    except Exception:  # noqa: BLE001 - what this looks for
        return "FAILED " + traceback.format_exc()
    return "read"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="Folder for what fails or has to be contained.")
    parser.add_argument("--more", type=Path, nargs="*", default=(), help="Files to mutate beside the made ones.")
    given = parser.parse_args()
    rng, corpus = random.Random(given.seed), seeds()
    corpus |= {path.name: path.read_bytes() for path in given.more}
    names, bodies = list(corpus), list(corpus.values())
    ends: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    slowest, begin = (0.0, ""), time.perf_counter()
    with TemporaryDirectory() as folder:
        for name, body in corpus.items():
            (Path(folder) / name).write_bytes(body)
            ends[f"seeds {ended(Path(folder) / name).split()[0]}"] += 1
        hold_memory()
        for number in range(given.count):
            name = names[number % len(names)]
            path = Path(folder) / ("stack" if rng.random() < 0.05 else "mutant")
            path.write_bytes(mutant(corpus[name], rng, bodies))
            faulthandler.dump_traceback_later(300, exit=True)
            start = time.process_time()
            how = ended(path)
            seconds = time.process_time() - start
            faulthandler.cancel_dump_traceback_later()
            slowest = max(slowest, (seconds, f"{number} {name}"))
            if seconds > 10:
                how = f"FAILED slow: {name}"
            ends[how.split("\n")[0].partition(" Trace")[0]] += 1
            if how.startswith("FAILED"):
                failures[how] += 1
            if how.startswith(("FAILED", "contained")) and given.keep:
                given.keep.mkdir(parents=True, exist_ok=True)
                (given.keep / f"{how.split()[0]}-{how.split()[1]}-{number}-{name}").write_bytes(path.read_bytes())
    for text, times in failures.most_common(20):
        sys.stderr.write(f"{times} x {text}\n")
    figures = {"seconds": round(time.perf_counter() - begin, 1), "slowest": slowest, "seeds": len(corpus), **ends}
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
