"""The figures of a run, and one page that shows them."""

import html
import json
from contextlib import suppress
from pathlib import Path

import torch
from matplotlib.figure import Figure

from wm_tutorial import figures
from wm_tutorial.config import plain
from wm_tutorial.envs import spelling
from wm_tutorial.errors import command
from wm_tutorial.evaluation import Evaluation
from wm_tutorial.imagination import imagine
from wm_tutorial.randomness import isolated_random
from wm_tutorial.runs.doctor.diagnosis import examine
from wm_tutorial.runs.dream import EpisodesTooShort, dream, live
from wm_tutorial.runs.normal import measured_beside
from wm_tutorial.runs.plan import narrowing
from wm_tutorial.trainer import Trainer

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ font: 16px/1.55 system-ui, sans-serif; max-width: 46rem; margin: 2.5rem auto; padding: 0 1rem; color: #222;
          background: #fdfdfb; }}
  h1 {{ font-weight: 600; margin-bottom: 0; }}
  .score {{ font-size: 1.25rem; color: #444; margin-top: .3rem; }}
  figure {{ margin: 2.2rem 0; }} img {{ max-width: 100%; display: block; margin: 0 auto; }}
  figcaption {{ color: #555; font-size: .92rem; margin-top: .5rem; }}
  pre {{ background: #f1f1ec; padding: .8rem 1rem; overflow-x: auto; border-radius: 6px; }}
</style></head><body>
<h1>{title}</h1>
<p class="score">{score}</p>
{figures}
<h2>Is it healthy?</h2>
{health}
<h2>Go on</h2>
{commands}
<pre>from wm_tutorial import Agent
agent, carry = Agent.load({folder}), None
action, carry = agent.act(obs, carry)</pre>
<details><summary>All options</summary><pre>{options}</pre></details>
</body></html>
"""

COMMANDS = """<p>In a terminal where the environment is active (<code>source .venv/bin/activate</code>, on Windows
<code>.venv\\Scripts\\activate</code>):</p>
<pre>{lines}</pre>"""


def commands(folder: Path, trainer: Trainer) -> str:
    """What can be done next on the command line; nothing for an environment that cannot be named there."""
    if (name := spelling(trainer.source)) is None:
        return ""
    named = ["--env", name] if ":" in name else []  # a file never says what is to be imported
    lines = [
        command("evaluate", folder, *named),
        command("dream", folder, *named, "--seed", 1),
        command("doctor", folder, *named),
        command("resume", folder, *named, "--steps", 2 * trainer.config.steps),
    ]
    return COMMANDS.format(lines=html.escape("\n".join(lines)))


def health(trainer: Trainer) -> str:
    """What looks wrong in a run, as far as it shows without new episodes, and what was looked at."""
    diagnosis = examine(trainer, live=False)
    said = [f"<p>{diagnosis.headline}</p>"]
    for finding in diagnosis.findings:
        name = f"<b>{html.escape(finding.name)}</b> ({finding.part}{', only a hint' if finding.hint else ''})"
        told = " ".join(html.escape(text) for text in (finding.seen, finding.why, f"Try: {finding.remedy}"))
        said.append(f"<p>{name}. {told} Chapter {finding.chapter}.</p>")
    looked = "".join(f"<li>{html.escape(line)}</li>" for line in diagnosis.looked)
    missed = "".join(f"<li>not: {html.escape(line)}</li>" for line in diagnosis.missed)
    return "\n".join([*said, f"<details><summary>What was looked at</summary><ul>{looked}{missed}</ul></details>"])


def imagined_trajectory(trainer: Trainer) -> Figure:
    """Reward, continue, value and return of one trajectory, imagined from the start of a real episode."""
    agent = trainer.agent
    with torch.no_grad(), isolated_random(agent.device, seed=0):
        batch = live(agent, trainer.source, rows=10, seed=0)
        start = agent.world_model.observe(batch)[:, -1]
        trajectory = imagine(agent.world_model, agent.behaviour.actor, start, trainer.config.horizon)
        value = agent.behaviour.critic(trajectory.state.feature).mean
        returns = agent.behaviour.returns(trajectory, value)
    reward, continue_ = trajectory.reward.numpy(force=True), trajectory.continue_.numpy(force=True)
    return figures.imagined_trajectory(reward, continue_, value.numpy(force=True), returns.numpy(force=True))


def write(folder: Path, trainer: Trainer, evaluation: Evaluation | None = None) -> Path:
    """Draw every figure of the run into `folder`, with a page index.html that shows them; returns the page.

    evaluation: what the page says of the agent; the last one of the run if None.
    """
    records = {kind: [r for r in trainer.records if r["kind"] == kind] for kind in ("episode", "train", "evaluation")}
    shown = []

    def show(name: str, alt: str, caption: str) -> None:
        image = f'<img src="{name}" alt="{html.escape(alt)}">'
        shown.append(f"<figure>{image}<figcaption>{html.escape(caption)}</figcaption></figure>")

    def show_figure(name: str, figure: Figure, caption: str) -> None:
        figures.save(figure, folder / name)
        show(name, figures.alt_text(figure), caption)

    try:
        seen = dream(trainer.agent, trainer.source, filmed=trainer.source not in figures.SKETCHES)
    except EpisodesTooShort:
        pass
    else:
        show("dream.gif", figures.film(seen, folder / "dream.gif"), "Reality, and the agent's dream of it.")
        show_figure("dream.png", figures.open_loop(seen), "The same episode, dreamed from its actions alone.")
    if records["episode"] or records["evaluation"]:
        measured = measured_beside(trainer)
        caption = "Training episodes, and evaluations."
        if measured:
            out = round(100 * 2 / (len(measured) + 1))  # a new seed is as likely as any other to be the lowest
            caption += (
                f" Is it normal? Grey: from the lowest to the highest of {len(measured)} seeds that were measured with "
                f"the same options. At any step {out} % of all runs lie outside."
            )
        show_figure("return.png", figures.return_curve(trainer.records, measured), caption)
    if trainer.config.behaviour == "actor-critic":  # what nobody learned to do is not worth looking at
        show_figure("imagined.png", imagined_trajectory(trainer), "One trajectory, imagined from a real start.")
    if trainer.config.behaviour == "planner":
        with suppress(EpisodesTooShort):
            found = narrowing(trainer.agent, trainer.source)
            show_figure("plan.png", figures.narrowing(found), "A plan as it is found, and what then happened.")
    if records["train"]:
        show_figure("losses.png", figures.losses(trainer.records), "Losses and more, each averaged between two points.")

    config, name = trainer.config, trainer.environment_name
    size = f", size {config.size}" if config.size else ""
    score = f"{trainer.steps} environment steps, {trainer.updates} updates, {trainer.seconds:.0f} s of learning."
    if evaluation:
        score += f" Evaluation: {evaluation}."
    elif records["evaluation"]:
        last = records["evaluation"][-1]
        score += f" Last evaluation: mean return {last['mean']:.1f} of {len(last['returns'])} greedy episodes."
    page = PAGE.format(
        title=html.escape(f"{name}, preset {config.preset}{size}, seed {config.seed}"),
        score=html.escape(score),
        figures="\n".join(shown),
        health=health(trainer),
        commands=commands(folder, trainer),
        folder=html.escape(repr(folder.as_posix())),
        options=html.escape(json.dumps(plain(config), indent=2, allow_nan=False)),
    )
    (folder / "index.html").write_text(page, encoding="utf-8")
    return folder / "index.html"
