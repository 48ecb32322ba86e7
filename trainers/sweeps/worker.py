"""A further worker on a sweep's study, in a process of its own; told what to do by its input."""

from __future__ import annotations

import json
import signal
import sys
from types import FrameType

from configs.errors import EXIT_CODE, GrandmodelError
from trainers.session import ray_session
from trainers.sweeps.commands import Assignment

INTERRUPTED = 130  # 128 + SIGINT, as shells count


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Work until no trial is left. Returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        worker, config = Assignment(**json.load(sys.stdin)).worker()
        with ray_session(config.mappo):
            worker.run()
    except GrandmodelError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
