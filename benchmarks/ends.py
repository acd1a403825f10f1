"""Does the model know what ends an episode? For runs on CartPole, which ends in two ways: the pole falls, or the cart
leaves the track. A cart that drifts is far from its end for hundreds of steps, so whoever does not know the second way
sees no reason to turn back.

    wm-tutorial train CartPole-v1 --preset dreamer_v3 --size nano --steps 10000 --out runs/ends
    python benchmarks/ends.py runs/ends

For each run: over the last rows of all episodes in its replay that ended so, the mean continue probability the model
gives (it should be near 0), with the row's own observation seen; and the same after the last 8 rows were imagined from
the actions that were really taken. Behind it, how far the decoded place of the cart is from the true one, in metres.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import tyro

from wm_tutorial.data import Batch, State
from wm_tutorial.process import cpu_threads
from wm_tutorial.runs.run import Run

TRACK = 2.4  # metres to each side; beyond, the episode ends
BLIND = 8  # rows imagined before the end


@dataclass(frozen=True)
class Ends:
    """What a model says about the last rows of the episodes that ended in one way.

    count      how many there are
    seen       mean continue probability, the last observation included
    imagined   the same after the last 8 rows were imagined
    place      root mean square error of the decoded place of the cart, in metres
    """

    count: int
    seen: float
    imagined: float
    place: float

    def __str__(self) -> str:
        """For people."""
        if not self.count:
            return "never"
        return f"{self.count:3} times, continue {self.seen:.2f} seen, {self.imagined:.2f} imagined, {self.place:.2f} m"


@torch.no_grad()
def ends(run: Run, draws: int = 16) -> dict[str, Ends]:
    """Both ways to end, for all episodes in the replay of a run on CartPole; `draws` imagined ends of each."""
    replay = run.trainer.replay
    oldest = replay.added - min(replay.added, replay.length)  # in the ring, row n lies at n % length
    rings = {name: torch.stack(rings) for name, rings in replay.state_dict().items() if isinstance(rings, list)}
    columns = {name: ring.roll(-(oldest % replay.length), dims=1) for name, ring in rings.items()}  # oldest row first
    batch = Batch(
        obs=columns["obs"][:, 1:], action=columns["action"][:, 1:], previous_action=columns["action"][:, :-1],
        reward=columns["reward"][:, 1:], is_first=columns["is_first"][:, 1:], is_last=columns["is_last"][:, 1:],
        is_terminal=columns["is_terminal"][:, 1:], start=State(columns["memory"][:, 0], columns["latent"][:, 0]),
    )  # fmt: skip
    model = run.agent.world_model
    states = model.observe(batch)
    place = batch.obs[..., 0]
    since = torch.stack([batch.is_first.roll(k, 1) for k in range(BLIND)]).any(0)  # an episode began in these rows
    whole = batch.is_terminal & ~since & (torch.arange(place.shape[1]) >= BLIND)
    result = {}
    for name, which in (("left the track", whole & (place.abs() > TRACK)), ("fell", whole & (place.abs() <= TRACK))):
        stream, row = which.nonzero(as_tuple=True)
        seen = states[stream, row]
        imagined = []
        for _ in range(draws if len(row) else 0):
            state = states[stream, row - BLIND]
            for k in reversed(range(BLIND)):
                state = model.imagine(state, batch.previous_action[stream, row - k])
            imagined.append(model.continues(state.feature).mean)
        error = model.decode(seen.feature).mean[:, 0] - place[stream, row]
        result[name] = Ends(
            count=len(row),
            seen=float(model.continues(seen.feature).mean.mean()),
            imagined=float(torch.stack(imagined).mean()) if imagined else float("nan"),
            place=float(error.square().mean().sqrt()),
        )
    return result


def main(runs: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Say for each run folder what its model knows about ends.

    Args:
        runs: folders of runs on CartPole-v1.
    """
    with cpu_threads(1):
        for path in runs:
            torch.manual_seed(0)
            for name, found in ends(Run.load(path)).items():
                print(f"{path}: {name:14} {found}")


if __name__ == "__main__":
    tyro.cli(main)
