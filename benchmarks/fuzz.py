"""Bad input by the thousand: study files, records, tables and stages with drawn mistakes.

Measures no time: a case passes if clsweep refuses it with one message or gives what was written,
and fails on a traceback, on an accepted change, and on taking more than 30 s of CPU time or 4 GB.
Every case is drawn from its number alone, so that `--first NUMBER --n 1` repeats a failure.

    python benchmarks/fuzz.py studies [--n 1000] [--first 0]
    python benchmarks/fuzz.py results [--n 1000] [--first 0]
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

SECONDS, BYTES = 30, 4 * 2**30

Case = Callable[[random.Random, Path], str]


def study_case() -> Case:
    from tests.fuzzing.studies import check_study, mutated_study, study_texts

    texts = study_texts()

    def case(rng: random.Random, folder: Path) -> str:
        return check_study(mutated_study(texts[rng.choice(list(texts))], rng), folder)

    return case


def result_case() -> Case:
    from tests.fuzzing.results import check_results, written_results

    original = written_results(Path(tempfile.mkdtemp(prefix="clsweep-fuzz-")))

    def case(rng: random.Random, folder: Path) -> str:
        return check_results(original, folder, rng)

    return case


def too_slow(number: int, frame: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("studies", "results"))
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    case = {"studies": study_case, "results": result_case}[arguments.kind]()
    # What libraries have reserved is no memory yet, but counts.
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + BYTES, mapped + BYTES))
    signal.signal(signal.SIGPROF, too_slow)
    ends: Counter[str] = Counter()
    began = time.monotonic()
    for number in range(arguments.first, arguments.first + arguments.n):
        folder = Path(tempfile.mkdtemp(prefix="clsweep-fuzz-"))
        # Seconds of this process: others may be at work beside it.
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            ends[case(random.Random(f"{arguments.kind} {number}"), folder)] += 1
        except Exception:  # the next case tells more than the first failure
            signal.setitimer(signal.ITIMER_PROF, 0)
            ends["FAILED"] += 1
            print(f"--- {arguments.kind} --first {number} --n 1", flush=True)
            print(traceback.format_exc(limit=-6)[-3000:], flush=True)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            shutil.rmtree(folder, ignore_errors=True)
    counts = ", ".join(f"{n} {end}" for end, n in sorted(ends.items()))
    print(f"{arguments.kind}, cases {arguments.first} to {number}: {counts}")
    print(f"{time.monotonic() - began:.0f} s")
    return int(ends["FAILED"] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
