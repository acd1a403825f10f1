"""Is this run healthy? What looks wrong in a run folder, why it matters, and what to try.

wm-tutorial doctor RUN, `run.doctor()`, and a section of the run's page. Many mistakes are wrong values that no test of
a single part can see; their traces are in what a run leaves behind.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from wm_tutorial.agent import Agent
from wm_tutorial.checkpoint import METRICS
from wm_tutorial.config import Config
from wm_tutorial.envs import EnvSource
from wm_tutorial.errors import EnvironmentFailure, InputError
from wm_tutorial.runs.doctor.evidence_of_model import Known, known
from wm_tutorial.runs.doctor.evidence_of_play import EPISODES, LONGEST, Lived, at_once, lived, time_limit
from wm_tutorial.runs.doctor.evidence_of_replay import Stored, stored
from wm_tutorial.runs.doctor.finding import ENOUGH, Finding, Part, Told
from wm_tutorial.runs.doctor.symptoms_of_model import OF_BOTH, OF_MODEL
from wm_tutorial.runs.doctor.symptoms_of_play import OF_ACTING, OF_PLAY, no_better_than_chance
from wm_tutorial.runs.doctor.symptoms_of_records import OF_RECORDS
from wm_tutorial.runs.doctor.symptoms_of_replay import OF_REPLAY
from wm_tutorial.trainer import Trainer

LOOKS_WRONG = 3  # what the command exits with; 1 is an error, 2 a command that cannot be understood


@dataclass(frozen=True)
class Diagnosis:
    """What was found in a run.

    findings  what looks wrong, what may be the cause of others first; hints at the end
    looked    at what, in words
    missed    what could not be looked at, and why
    """

    findings: tuple[Finding, ...]
    looked: tuple[str, ...]
    missed: tuple[str, ...] = ()

    @property
    def wrong(self) -> tuple[Finding, ...]:
        """The findings that are no mere hints."""
        return tuple(finding for finding in self.findings if not finding.hint)

    @property
    def headline(self) -> str:
        """How many things look wrong, and where to begin."""
        if not self.wrong:
            return f"Nothing looks wrong{', in what could be looked at' if self.missed else ''}."
        if len(self.wrong) == 1:
            return "One thing looks wrong."
        return f"{len(self.wrong)} things look wrong. Begin with the first: it may be the cause of the others."

    def __str__(self) -> str:
        """For people, in lines of a terminal's width."""
        lines = [self.headline]
        hints = [finding for finding in self.findings if finding.hint]
        for finding in self.wrong:
            lines += ["", *_told(finding)]
        if hints:
            lines += ["", "Worth knowing, though sound runs show it, too:"]
        for finding in hints:
            lines += ["", *_told(finding)]
        for title, said in (("Looked at", self.looked), ("Not looked at", self.missed)):
            lines += ["", f"{title}:", *(_wrapped(line, "  - ", "    ") for line in said)] if said else []
        return "\n".join(lines)


def _told(finding: Finding) -> list[str]:
    """A finding in lines."""
    rows = {"seen": finding.seen, "why": finding.why, "try": finding.remedy, "course": f"chapter {finding.chapter}"}
    said = [_wrapped(text[0].upper() + text[1:], f"  {name:<8}", " " * 10) for name, text in rows.items() if text]
    return [f"{finding.name} ({finding.part})", *said]


def _wrapped(text: str, first: str, rest: str) -> str:
    return textwrap.fill(text, 98, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)


def diagnose(
    told: Told, stored: Stored | None = None, known: Known | None = None, lived: Lived | None = None
) -> tuple[Finding, ...]:
    """All findings in what is known of a run: in the order of the parts, hints last. What is None is not looked at.

    Of a run with fewer than ENOUGH updates neither model nor agent is judged: nobody learns that quickly.
    """
    found = [symptom(told) for symptom in OF_RECORDS]
    learned = told.updates >= ENOUGH
    if stored:
        found += [symptom(told, stored) for symptom in OF_REPLAY]
    if known and learned:
        found += [symptom(told, known) for symptom in OF_MODEL]
    if stored and known and learned:
        found += [symptom(told, stored, known) for symptom in OF_BOTH]
    if lived and learned:
        found += [symptom(told, lived) for symptom in OF_ACTING]
    if stored and lived and learned:
        found += [symptom(told, stored, lived) for symptom in OF_PLAY]
    if learned and told.config.behaviour != "random":
        found += [no_better_than_chance(*returns_to_compare(told, lived))]
    return ordered([finding for finding in found if finding])


def returns_to_compare(told: Told, lived: Lived | None) -> tuple[Sequence[float], Sequence[float]]:
    """Returns of the agent and of chance: in new episodes, at its best; or those of training, where none were lived."""
    if lived is None:
        return told.returns(), told.chance()
    return max(lived.greedy, lived.sampled, key=sum), lived.chance


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Hints last; before that, what is lived and stored comes before what learns from it."""
    return tuple(sorted(findings, key=lambda finding: (finding.hint, get_args(Part).index(finding.part))))


def examine(trainer: Trainer, live: bool = True) -> Diagnosis:
    """Look at a run; `live` says whether new episodes are lived for it, which takes some seconds."""
    spaces = trainer.agent.spaces
    limit = time_limit(trainer.environments)
    told = Told(trainer.config, spaces, trainer.records, trainer.steps, trainer.updates, limit)
    looked, missed = _records_looked_at(told)
    held: Stored | None = None
    knows: Known | None = None
    lives: Lived | None = None
    if len(trainer.replay):
        held = stored(trainer.replay, spaces.obs_kind == "vector", trainer.config.sequence_length)
        looked.append(f"the replay: {held.held:,} rows, {len(held.episodes):,} whole episodes")
    else:
        missed.append("the replay: it is empty")
    if told.updates < ENOUGH:
        missed.append(f"the model and how the agent acts: after {told.updates} updates it is too early to judge")
    else:
        knows = known(trainer.agent, trainer.replay)
        if knows is None:
            missed.append("the model: the replay holds no sequence of the length that is asked about")
        else:
            dreams = "" if knows.dreamed is None else ", and its dreams of them"
            looked.append(f"the model: what it says of sequences in the replay{dreams}")
            missed += [] if dreams else ["dreams: no episode in the replay is long enough for one"]
    if live and told.updates >= ENOUGH:
        count, longest = at_once(trainer)
        try:
            lives = lived(trainer.agent, trainer.source, count, longest)
            looked.append(_episodes(count, longest))
        except (EnvironmentFailure, InputError) as error:
            missed.append(f"new episodes: {error}")
    elif not live:
        missed.append("new episodes: they take some seconds, and wm-tutorial doctor RUN lives them")
    return Diagnosis(diagnose(told, held, knows, lives), tuple(looked), tuple(missed))


def examine_agent(agent: Agent, source: EnvSource) -> Diagnosis:
    """Look at an agent of which neither metrics nor replay are known, by how it acts in new episodes.

    Raises:
        EnvironmentFailure: if an environment raises.
    """
    lives, told = lived(agent, source, EPISODES, LONGEST), Told.by_metrics(Config(), ())
    found = [no_better_than_chance(*returns_to_compare(told, lives)), *(symptom(told, lives) for symptom in OF_ACTING)]
    missed = "losses, replay and model: of this kind of run none are kept that these causes are known for"
    return Diagnosis(ordered([f for f in found if f]), (_episodes(EPISODES, LONGEST),), (missed,))


def examine_records(config: Config, records: Sequence[dict[str, Any]], reason: str) -> Diagnosis:
    """Look at a run of which there are options and metrics alone; `reason` says why."""
    told = Told.by_metrics(config, records)
    looked, missed = _records_looked_at(told)
    return Diagnosis(diagnose(told), tuple(looked), (*missed, f"replay, model and how the agent acts: {reason}"))


def _episodes(count: int, longest: int) -> str:
    return f"{count} new episodes each with greedy, sampled and random actions, of at most {longest} rows"


def _records_looked_at(told: Told) -> tuple[list[str], list[str]]:
    """What of the metrics there is to look at, and what is missing."""
    counts = {name: len(told.of(kind)) for kind, name in KINDS.items()}
    if not any(counts.values()):
        return [], [f"losses and returns: {METRICS} is missing or empty"]
    missed = [f"{name}: {METRICS} has none" for name, count in counts.items() if not count]
    return [f"{METRICS}: {', '.join(f'{count:,} {name}' for name, count in counts.items())}"], missed


KINDS = {"train": "lines of losses", "episode": "episodes of training", "evaluation": "evaluations"}
