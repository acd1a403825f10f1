"""An agent without its training, as a person holds it: evaluated, dreamed with and filmed as a run is."""

from pathlib import Path
from types import TracebackType
from typing import Self

from wm_tutorial.agent import Agent
from wm_tutorial.data import Dream
from wm_tutorial.envs import EnvSource
from wm_tutorial.evaluation import Evaluation, evaluate
from wm_tutorial.runs.asked import whole_number
from wm_tutorial.runs.doctor.diagnosis import Diagnosis, examine_agent
from wm_tutorial.runs.dream import dream
from wm_tutorial.runs.film import Filmed, film


class AgentAlone:
    """An agent and its environment, with the parts of a `Run` that make sense for them.

    path    the folder for what is drawn
    agent   ready to act
    source  the environment
    """

    def __init__(self, path: Path, agent: Agent, source: EnvSource) -> None:
        self.path, self.agent, self.source = path, agent, source

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open: what acts opens environments of its own."""

    def evaluate(self, episodes: int = 100, greedy: bool = True, seed: int | None = None) -> Evaluation:
        """Returns of complete episodes on environments and seeds that training has not seen; as `Run.evaluate`."""
        episodes = whole_number("episodes", episodes)
        return evaluate(self.agent, self.source, episodes, 0 if seed is None else whole_number("seed", seed), greedy)

    def dream(self, context: int = 5, horizon: int = 45, seed: int = 0) -> Dream:
        """One real episode beside the model's prediction of it; see `wm_tutorial.dream.dream`."""
        return dream(self.agent, self.source, context, horizon, seed)

    def film(
        self, path: str | Path | None = None, episodes: int = 1, greedy: bool = True, seed: int = 0, steps: int = 1000
    ) -> Filmed:
        """Film the environment while the agent acts; see `Run.film`."""
        path = self.path / f"film-{seed}.gif" if path is None else path
        return film(self.agent, self.source, path, episodes, greedy, seed, steps)

    def doctor(self) -> Diagnosis:
        """What looks wrong in how it acts; of losses and replay nothing is known. See `Run.doctor`."""
        return examine_agent(self.agent, self.source)

    def __repr__(self) -> str:
        """For notebooks."""
        return f"{type(self).__name__}({str(self.path)!r})"
