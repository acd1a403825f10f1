"""The stages of a run, one after the other: random play, V, M, C. Each can be stopped and goes on where it was.

| stage        | needs        | leaves in the folder |
|--------------|--------------|----------------------|
| `experience` | -            | experience.pt        |
| `vision`     | `experience` | vision.pt            |
| `memory`     | `vision`     | memory.pt            |
| `controller` | `memory`     | controller.pt        |

Every file holds what its stage has come to, and the settings that it was made with. It is replaced in one piece.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from torch import Tensor, nn

from wm_tutorial import checkpoint
from wm_tutorial.data import COLLECT, Spaces, State
from wm_tutorial.envs import Environments, EnvSource
from wm_tutorial.errors import CheckpointError, InputError, NonFiniteError
from wm_tutorial.latents import Gaussian
from wm_tutorial.randomness import Randomness, isolated_random
from wm_tutorial.replay import Replay
from wm_tutorial.world_models_2018.agent import Agent
from wm_tutorial.world_models_2018.controller import evolve
from wm_tutorial.world_models_2018.rollout import DreamedWorld, RealWorld, World, play
from wm_tutorial.world_models_2018.settings import OF_CONTROLLER, OF_EXPERIENCE, OF_MEMORY, OF_VISION, Settings

Tell: TypeAlias = Callable[[str], None]
Stage: TypeAlias = Literal["experience", "vision", "memory", "controller"]
STAGES: tuple[Stage, ...] = get_args(Stage)
SETTINGS_OF: dict[Stage, tuple[str, ...]] = {
    "experience": OF_EXPERIENCE,
    "vision": OF_EXPERIENCE + OF_VISION,
    "memory": OF_EXPERIENCE + OF_VISION + OF_MEMORY,
    "controller": OF_EXPERIENCE + OF_VISION + OF_MEMORY + OF_CONTROLLER,
}
AT_ONCE = 2**20  # pixels that V is shown at once when it has learned: more would take gigabytes
PLAYING, EVOLVING = 4, 5  # seeds of the episodes that candidates play, and of PyTorch's draws there


class Stages:
    """The stages of one run in one folder.

    Args:
        source: the environment.
        settings: of all stages.
        folder: where each stage keeps its file.
        tell: is given a line of progress now and then.

    Raises:
        InputError: if the environment cannot be used: one without pictures is told before anything is recorded.
    """

    def __init__(self, source: EnvSource, settings: Settings, folder: Path, tell: Tell = print) -> None:
        self.source, self.settings, self.folder, self.tell = source, settings, folder, tell
        with closing(Environments(source, 1, (COLLECT, settings.seed))) as environments:
            self.spaces: Spaces = environments.spaces
        with isolated_random("cpu", settings.seed):
            self.agent = Agent(self.spaces, settings)

    def run(self, stages: tuple[Stage, ...] = STAGES) -> Agent:
        """Go through these stages, those before them being finished; what is finished already is read.

        Raises:
            InputError: if a stage is asked for and the one before it is not finished, or a file was made with others
                settings.
            EnvironmentFailure, NonFiniteError, KeyboardInterrupt: what was reached is in the folder.
        """
        do: dict[Stage, Callable[[], None]] = {
            "experience": self.record, "vision": self.learn_to_see, "memory": self.learn_to_foresee,
            "controller": self.evolve,
        }  # fmt: skip
        threads = torch.get_num_threads()
        torch.set_num_threads(self.settings.threads or threads)
        try:
            for stage in stages:
                self._check_before(stage)
                do[stage]()
        finally:
            torch.set_num_threads(threads)
        return self.agent

    def check(self, stages: tuple[Stage, ...]) -> None:
        """Raise InputError if what is in the folder, up to the last of these stages, was made with other settings."""
        for stage in STAGES[: max(map(STAGES.index, stages)) + 1]:
            if self._started(stage):
                self._read(stage)

    # Random play ------------------------------------------------------------------------------------------------------

    def record(self) -> None:
        """Play at random, and keep every row."""
        if self._finished("experience"):
            return
        replay = self._empty_replay()
        rng = np.random.default_rng([COLLECT, self.settings.seed])
        nothing = State(torch.zeros(self.settings.envs, 0), torch.zeros(self.settings.envs, 0))
        with closing(Environments(self.source, self.settings.envs, (COLLECT, self.settings.seed))) as environments:
            row = environments.reset()
            for _ in range(replay.length):
                action = environments.random_action(rng)
                replay.add(row, action, nothing)
                row = environments.step(row, action)
        self._write("experience", {"replay": replay.state_dict()}, done=True)
        self.tell(f"experience: {len(replay):,} rows of random play are recorded")

    def experience(self) -> Replay:
        """What was recorded."""
        replay = self._empty_replay()
        replay.load_state_dict(self._read("experience")["replay"])
        return replay

    def _empty_replay(self) -> Replay:
        return Replay(self.settings.rows, self.settings.envs, self.spaces, memory_size=0, latent_size=0)

    # V ----------------------------------------------------------------------------------------------------------------

    def learn_to_see(self) -> None:
        """Train V on recorded pictures."""
        pictures = self.experience().columns["obs"].reshape(-1, *self.spaces.obs_shape)

        def losses(rng: np.random.Generator) -> dict[str, Tensor]:
            drawn = pictures[rng.integers(len(pictures), size=self.settings.vision_batch)]
            return self.agent.vision.losses(torch.from_numpy(drawn), self.settings.kl_tolerance)

        self._fit("vision", self.agent.vision, losses, self.settings.vision_updates, self.settings.vision_lr)

    # M ----------------------------------------------------------------------------------------------------------------

    def learn_to_foresee(self) -> None:
        """Train M on what was recorded, as V sees it: each time with other samples of z."""
        self._take("vision")
        replay, mean, logvar = self.experience(), *self.codes()

        def losses(rng: np.random.Generator) -> dict[str, Tensor]:
            batch, place = replay.sample(self.settings.memory_batch, self.settings.sequence_length, rng)
            where = place.stream[:, None], place.number
            z = Gaussian(mean[where], logvar[where]).sample()
            return self.agent.memory.losses(z, batch.action, batch.reward, batch.is_first, batch.is_terminal)

        self._fit("memory", self.agent.memory, losses, self.settings.memory_updates, self.settings.memory_lr)

    def codes(self) -> tuple[Tensor, Tensor]:
        """V's mean and log-variance of z for every recorded row, (N, T, Z)."""
        pictures = self.experience().columns["obs"]
        rows = max(1, AT_ONCE // math.prod(self.spaces.obs_shape[:2]))
        with torch.no_grad():
            seen = [
                [self.agent.vision.encode(torch.from_numpy(stream[i : i + rows])) for i in range(0, len(stream), rows)]
                for stream in pictures
            ]
        mean = torch.stack([torch.cat([code.mean for code in stream]) for stream in seen])
        return mean, torch.stack([torch.cat([code.logvar for code in stream]) for stream in seen])

    # C ----------------------------------------------------------------------------------------------------------------

    def evolve(self) -> None:
        """Let C's parameters evolve, in the dream or in reality."""
        self._take("vision")
        self._take("memory")
        s, controller = self.settings, self.agent.controller
        kept = self._read("controller") if self._started("controller") else {"scores": [], "mean": None}
        scores: list[Tensor] = kept["scores"]
        with self.world() as world:

            def score(number: int, candidates: Any) -> Any:
                weights = torch.from_numpy(candidates).float().reshape(-1, *controller.weight.shape)
                drawn = int(np.random.SeedSequence([EVOLVING, s.seed, number]).generate_state(1)[0])
                with isolated_random("cpu", drawn):
                    returns = play(
                        world, weights.repeat_interleave(s.episodes, 0), s.sees, controller.kind, s.limit, number
                    )
                return returns.reshape(-1, s.episodes).mean(1).double().numpy()

            past = [one.numpy() for one in scores]
            search = evolve(score, controller.vector * 0.0, s.spread, s.population, s.seed, past)
            while len(scores) < s.generations:
                generation = next(search)
                scores.append(torch.from_numpy(generation.scores))
                kept = {"scores": scores, "mean": torch.from_numpy(generation.mean)}
                done = len(scores) >= s.generations
                if done or len(scores) % 10 == 0:
                    self._write("controller", kept, done)
                    self.tell(
                        f"controller: generation {len(scores)} of {s.generations}, return in {s.plays_in} "
                        f"{generation.scores.mean():.1f}, best candidate {generation.scores.max():.1f}"
                    )
        controller.take(kept["mean"].numpy())

    @contextmanager
    def world(self) -> Iterator[World]:
        """Where C plays: the dream, or as many environments as there are episodes at once."""
        if self.settings.plays_in == "dream":
            yield self.dream()
            return
        seed, count = (PLAYING, self.settings.seed), self.settings.population * self.settings.episodes
        with closing(Environments(self.source, count, seed)) as environments:
            yield RealWorld(self.agent.vision, self.agent.memory, environments, seed)

    def dream(self, temperature: float | None = None) -> DreamedWorld:
        """M as a world; at the temperature of the settings, or at another one."""
        first = torch.from_numpy(self.experience().columns["is_first"])
        mean, logvar = self.codes()
        starts = Gaussian(mean[first], logvar[first])
        tau = self.settings.temperature if temperature is None else temperature
        return DreamedWorld(self.agent.memory, starts, tau)

    # Learning, and what is kept of it ---------------------------------------------------------------------------------

    def _fit(
        self, stage: Stage, module: nn.Module, losses: Callable[[np.random.Generator], dict[str, Tensor]],
        updates: int, lr: float,
    ) -> None:  # fmt: skip
        """Gradient updates by Adam, saved now and then; one that was stopped goes on bit for bit."""
        optimizer = torch.optim.Adam(module.parameters(), lr)
        randomness, done = Randomness(self.settings.seed), 0
        if self._started(stage):
            kept = self._read(stage)
            module.load_state_dict(kept["module"])
            optimizer.load_state_dict(kept["optimizer"])
            randomness.load_state_dict(kept["random"])
            done = kept["updates"]
        while done < updates or not self._started(stage):
            with randomness.active():
                for _ in range(min(self.settings.save_every, updates - done)):
                    terms = losses(randomness.numpy)
                    total = torch.stack(list(terms.values())).sum()
                    if not total.isfinite():
                        raise NonFiniteError(
                            f"The loss of stage {stage} is {total.item()} after {done} updates. Lower its learning "
                            f"rate; what was reached before is in {self.folder}."
                        )
                    optimizer.zero_grad()
                    torch.autograd.backward(total)
                    nn.utils.clip_grad_norm_(module.parameters(), self.settings.clip)
                    optimizer.step()
                    done += 1
            kept = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "updates": done}
            self._write(stage, {**kept, "random": randomness.state_dict()}, done >= updates)
            said = ", ".join(f"{name} {term.item():.3f}" for name, term in terms.items()) if updates else "untrained"
            self.tell(f"{stage}: {done:,} of {updates:,} updates, {said}")

    def _take(self, stage: Stage) -> None:
        """Let V or M be what was learned."""
        module = self.agent.vision if stage == "vision" else self.agent.memory
        module.load_state_dict(self._read(stage)["module"])

    def _file(self, stage: Stage) -> Path:
        return self.folder / f"{stage}.pt"

    def _started(self, stage: Stage) -> bool:
        return self._file(stage).exists()

    def _finished(self, stage: Stage) -> bool:
        return self._started(stage) and bool(self._read(stage)["finished"])

    def _write(self, stage: Stage, content: dict[str, Any], done: bool) -> None:
        made_with = {name: getattr(self.settings, name) for name in SETTINGS_OF[stage]}
        checkpoint.write(self._file(stage), {"stage": stage, "settings": made_with, "finished": done, **content})

    def _read(self, stage: Stage) -> dict[str, Any]:
        """What a stage has left; raises InputError if it was made with other settings."""
        content = checkpoint.read(self._file(stage))
        if content.get("stage") != stage:
            raise CheckpointError(f"{self._file(stage)} was not left by stage {stage}; use another copy, or remove it.")
        for name, value in content["settings"].items():
            if value != getattr(self.settings, name):
                raise InputError(
                    f"{name} is {getattr(self.settings, name)!r}, and stage {stage} in {self.folder} was made with "
                    f"{value!r}. Give that again, choose another folder, or remove {stage}.pt and what came after it."
                )
        return content

    def _check_before(self, stage: Stage) -> None:
        """Raise InputError if the stage before this one is not finished."""
        if not (number := STAGES.index(stage)):
            return
        before = STAGES[number - 1]
        if not self._finished(before):
            raise InputError(
                f"Stage {stage} needs stage {before}, which is not finished in {self.folder}. Run that first, or all "
                "of them: leave out the names of stages."
            )
