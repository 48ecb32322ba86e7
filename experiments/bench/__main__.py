"""The command: `python -m experiments.bench NAME [--json]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence

from configs.errors import EXIT_CODE, ConfigError, GrandmodelError, RegistryError, nearest
from experiments.bench.report import Figure, report, table
from trainers.cli_options import console

_DEVICE_BENCH = "mappo"
_HOT_BENCH = "cascade"
Bench = Callable[[], list[Figure]]


def _book() -> list[Figure]:
    from experiments.bench.book import figures

    return figures()


def _flow() -> list[Figure]:
    from experiments.bench.flow import figures

    return figures()


def _envs() -> list[Figure]:
    from experiments.bench.envs import figures

    return figures()


def _signals() -> list[Figure]:
    from experiments.bench.signals import figures

    return figures()


def _mappo() -> list[Figure]:
    from experiments.bench import mappo, mappo_execution, mappo_layers
    from experiments.ours_toy import OursToy
    from experiments.stock_rllib import local_ray

    with local_ray():
        found = [*mappo.figures(OursToy), *mappo_execution.figures()]
    return [*found, *mappo_layers.figures()]


def _cascade() -> list[Figure]:
    from experiments.bench import cascade, cascade_layers

    return [*cascade.figures(), *cascade_layers.figures()]


def _serve() -> list[Figure]:
    from experiments.bench.serve import figures

    return figures()


def _hot_steps(name: str, steps: int) -> list[Figure]:
    if name != _HOT_BENCH:
        raise ConfigError(
            f"--hot-steps {steps} with benchmark '{name}': expected '{_HOT_BENCH}', the only one "
            "that has hot decisions; leave --hot-steps out"
        )
    from experiments.bench.cascade_layers import EngineSizes, figures

    return figures(EngineSizes(memory_steps=steps))


def _on_device(name: str, device: str) -> list[Figure]:
    if name != _DEVICE_BENCH:
        raise ConfigError(
            f"--device {device} with benchmark '{name}': expected '{_DEVICE_BENCH}', the only one "
            "that a device changes; leave --device out"
        )
    from experiments.bench.mappo_device import figures

    return figures(device)


# Imported when run: the book needs nothing that environments need.
BENCHES: Mapping[str, Bench] = {
    "book": _book,
    "flow": _flow,
    "envs": _envs,
    "signals": _signals,
    "mappo": _mappo,
    "cascade": _cascade,
    "serve": _serve,
}


def bench_named(name: str, benches: Mapping[str, Bench]) -> Bench:
    """The benchmark of that name.

    Raises:
        RegistryError: there is none; the message lists those there are.
    """
    if name in benches:
        return benches[name]
    hint = nearest(name, benches)
    names = ", ".join(sorted(benches))
    meant = f"; {hint}" if hint.startswith("did") else ""
    raise RegistryError(f"unknown benchmark '{name}': expected one of {names}{meant}")


def main(arguments: Sequence[str] | None = None, benches: Mapping[str, Bench] = BENCHES) -> int:
    """Run one benchmark and print it. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m experiments.bench", description=__doc__)
    parser.add_argument("name", help=f"one of {', '.join(sorted(benches))}")
    parser.add_argument("--device", help="of mappo: an update's time there, such as cuda")
    parser.add_argument(
        "--hot-steps", type=int, help="of cascade: the engine alone, its memory over so many steps"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, for machines")
    given = parser.parse_args(arguments)
    try:
        if given.hot_steps is not None:
            figures = _hot_steps(given.name, given.hot_steps)
        elif given.device is None:
            figures = bench_named(given.name, benches)()
        else:
            figures = _on_device(given.name, given.device)
    except GrandmodelError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_CODE
    if given.json:
        print(json.dumps(report(given.name, figures), indent=2))
    else:
        console().print(table(given.name, figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
