"""`make test`: the whole suite as two runs of pytest side by side, each with services of its own.

Much of a run is waiting: for a lease to end, for a broker to start. Arguments are handed to both.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / ".data"


def main() -> int:
    DATA.mkdir(exist_ok=True)
    # Shown at the end, so that the lines of the two do not mix.
    log = DATA / "test-acceptance.log"
    with log.open("w") as output:
        halves = [
            start(["tests/acceptance"], DATA / "test-acceptance", output),
            start(["tests/unit", "tests/integration", "tests/browser"], DATA / "test", None),
        ]
        try:
            failed = [half.wait() != 0 for half in halves]
        except KeyboardInterrupt:
            # They were interrupted too, and tidy up.
            failed = [half.wait() != 0 for half in halves]
    print(log.read_text(errors="replace"))
    return int(any(failed))


def start(folders: list[str], data: Path, output: IO[str] | None) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pytest", *folders, *sys.argv[1:]]
    environment = {**os.environ, "TEST_DATA": str(data)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)


if __name__ == "__main__":
    sys.exit(main())
