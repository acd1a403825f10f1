"""What an update of every size costs on paper, held against what was measured; the counting is `runs.cost`.

python benchmarks/cost.py                       # the table of all sizes
python benchmarks/cost.py --sizes nano size1m --measure 5   # and what these take here, beside what was predicted
python benchmarks/cost.py --observations image  # for pictures of 64 x 64 and 18 actions
python benchmarks/cost.py --save-counts         # count all sizes anew, for `runs.cost.counted`
"""

import dataclasses
import json
from pathlib import Path
from typing import Literal

import tyro

import wm_tutorial
from wm_tutorial.config import make_config
from wm_tutorial.process import cpu_threads
from wm_tutorial.runs import cost

MACHINES = (cost.L4, cost.H100, cost.GRAPH, cost.EIGHT, cost.CLUSTER, cost.ETHERNET)


def save() -> None:
    """Count every size with both kinds of observations, and keep the counts in the package."""
    path = Path(wm_tutorial.__file__).parent / "runs" / cost.COUNTED
    kept = {}
    for observations in cost.SOURCES:
        found = cost.count_sizes(observations)
        kept[observations] = {size: dataclasses.asdict(one) for size, one in found.items()}
    path.write_text(json.dumps(kept, indent=1, allow_nan=False) + "\n")


def main(
    sizes: tuple[str, ...] = cost.SIZES,
    measure: int = 0,
    observations: Literal["vector", "image"] = "vector",
    save_counts: bool = False,
) -> None:
    """Print the table.

    Args:
        sizes: of the preset dreamer_v3.
        measure: so many updates of each size are made here; 0 for none.
        observations: what the world shows.
        save_counts: count every size anew, and keep the counts in the package; prints no table.
    """
    with cpu_threads(1):
        if save_counts:
            return save()
        core = cost.here()
        machines = (core, *MACHINES)
        print(
            f"{core.name}: {core.flops / 1e9:.0f} GFLOP/s, {core.bandwidth / 1e9:.1f} GB/s, {core.start * 1e6:.1f} us"
        )
        print(
            f"| size | parameters | GFLOP | GB | operators | {' | '.join(m.name for m in machines)} | measured here |"
        )
        print("|---|" + "---|" * (len(machines) + 5))
        for size in sizes:
            config = make_config(cost.PRESET, size=size)
            one = cost.counted(size, observations)
            counted = f"{one.parameters:,} | {one.flop / 1e9:.3g} | {one.bytes / 1e9:.3g} | {one.operators:,.0f}"
            predicted = " | ".join(f"{1e3 * m.seconds(one):.3g} ms" for m in machines)
            took = f"{1e3 * cost.measured(config, measure, observations):.3g} ms" if measure else "-"
            print(f"| {size} | {counted} | {predicted} | {took} |", flush=True)
    return None


if __name__ == "__main__":
    tyro.cli(main)
