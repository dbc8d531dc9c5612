"""Ten thousand histories (`tests.store.histories`), block by block; the same number gives the same histories.

    python -m tests.store.campaign                      # all; goes on where it was interrupted
    python -m tests.store.campaign --first 1 --last 25
    python -m tests.store.campaign --first 17 --last 17 --again

What is done stands in bench/out/histories.json, by block and commit. The exit code is 1 when a history broke a promise.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tests.store.histories import BLOCK, HISTORIES, STEPS, run

OUT = Path(__file__).resolve().parents[2] / "bench" / "out" / "histories.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="histories")
    parser.add_argument("--first", type=int, default=1, help="the first block")
    parser.add_argument("--last", type=int, default=HISTORIES // BLOCK, help="the last block")
    parser.add_argument("--again", action="store_true", help="also blocks that are done")
    options = parser.parse_args()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    done: dict[str, Any] = json.loads(OUT.read_text()) if OUT.exists() else {}
    for block in range(options.first, options.last + 1):
        if done.get(str(block), {}).get("commit") == commit and not options.again:
            continue
        began, problem = time.process_time(), ""
        try:
            run(block, BLOCK, STEPS)
        except Exception:
            problem = traceback.format_exc()
            sys.stderr.write(problem)
        seconds = round(time.process_time() - began, 1)
        done[str(block)] = {"commit": commit, "histories": BLOCK, "cpu_seconds": seconds, "problem": problem}
        OUT.write_text(json.dumps(done, indent=1) + "\n")
        own = [item for item in done.values() if item["commit"] == commit]
        failed = sum(bool(item["problem"]) for item in own)
        sys.stderr.write(f"block {block}: {seconds} s CPU; {len(own)} blocks of this commit, {failed} failed\n")
    own = [done.get(str(block), {}) for block in range(options.first, options.last + 1)]
    return 0 if all(item.get("problem") == "" for item in own) else 1


if __name__ == "__main__":
    sys.exit(main())
