"""What teachers are given is so: lists come from the checks, answers are worked out anew, minutes add up."""

import math
import re
import tomllib
from pathlib import Path

import book_pages
import book_teachers
import exam
import pytest
import student
import torch
from course import NOTEBOOKS, chapters, markdown, read

from wm_tutorial.kl import gaussian_kl
from wm_tutorial.mistakes import PARTS
from wm_tutorial.mistakes.part import Function
from wm_tutorial.runs.cost import Cost, Machine

BOOK = NOTEBOOKS.parent / "book"
NOTES = "\n".join((BOOK / f"instructor_notes_{part}.md").read_text() for part in (1, 2, 3))
BANK = {f"{int(one.chapter)}.{one.letter}": one for one in exam.bank()}


def right(name: str) -> Function:
    """The finished function that a check compares with."""
    return PARTS[name].right


def row(*numbers: float) -> torch.Tensor:
    return torch.tensor([numbers])


# --- What the pages take from the checks and the chapters -------------------------------------------------------------


def test_the_mistakes_on_the_page_are_those_of_the_checks_in_their_words() -> None:
    listed = book_teachers.mistakes_by_check()
    assert set(listed) == set(PARTS)
    seen = 0
    for name, part in PARTS.items():
        words = {one.name: (one.story, one.why) for one in listed[name]}
        assert words.items() <= {key: (one.story, one.why) for key, one in part.mistakes.items()}.items(), name
        assert len(words) == len(listed[name])
        seen += len(words)
    assert seen > 0.97 * sum(len(part.mistakes) for part in PARTS.values())  # but for those put together by code


def test_every_exercise_of_every_chapter_is_listed_with_its_check() -> None:
    for path in chapters():
        found = book_teachers.exercises(path)
        assert [one.number for one in found] == re.findall(r"^### Exercise (\d+\.\d+)", markdown(read(path)), re.M)
        assert all(one.check in PARTS and 5 <= one.minutes <= 30 for one in found)


def test_the_pages_are_filled_from_the_chapters() -> None:
    told = book_pages.pages({f"book/{page.name}": page.read_text() for page in BOOK.glob("*.md")}, chapters(), None)
    notes = "".join(told[f"book/instructor_notes_{part}.md"] for part in (1, 2, 3))
    for path in chapters():
        assert f"{book_pages.Chapter.read(path).minutes} minutes of study" in notes
        for one in book_teachers.exercises(path):
            assert f"Exercise {one.number}, {one.title}" in notes
    assert "`bootstrap_early`" in notes and "6.1 to 6.4, 53 minutes" in told["book/syllabi.md"]


def test_every_chapter_has_its_place_in_a_syllabus_with_its_homework() -> None:
    syllabi = (BOOK / "syllabi.md").read_text()
    for path in chapters():
        assert f"[{path.name[:2]}](../notebooks/{path.name})" in syllabi, path.name
        assert f"{{{{ exercises-{path.name[:2]} }}}}" in syllabi, path.name


def test_a_bar_or_a_star_in_the_words_of_a_check_does_not_break_the_table() -> None:
    assert book_teachers._cell("a | b ** c_d, `e_f | g`") == r"a \| b \*\* c\_d, `e_f \| g`"


# --- Hosting ----------------------------------------------------------------------------------------------------------


def test_the_recipe_for_a_hub_installs_what_everybody_installs() -> None:
    """No image is built here: what its lines name is there, and in the versions that the course is tested with."""
    recipe = (BOOK / "hosting.md").read_text().partition("```dockerfile\n")[2].partition("```")[0]
    lines = re.findall(r"^RUN pip install --no-cache-dir (.+)$", recipe, re.M)
    assert lines == [
        "-c constraints.txt torch --index-url ADDRESS",
        '-c constraints.txt -e ".[notebooks]"',
        "jupyterhub==VERSION",
    ]
    readme = student.README  # of what students are handed, who install by themselves
    assert all(f"pip install {line}" in readme for line in lines[:2])
    project = tomllib.loads((BOOK.parent / "pyproject.toml").read_text())["project"]
    (version,) = re.findall(r"^FROM python:(\d\.\d+)-slim$", recipe, re.M)
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]
    pinned = re.findall(r"^([\w.-]+)==", (BOOK.parent / "constraints.txt").read_text(), re.M)
    for asked in [*project["dependencies"], *project["optional-dependencies"]["notebooks"]]:
        assert re.split(r"[>=\[]", asked)[0] in pinned
    assert "wm-tutorial notebooks course" in (BOOK / "hosting.md").read_text()


def test_binder_is_told_the_same() -> None:
    binder = BOOK.parent / ".binder"
    asked = [line for line in (binder / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert asked == ["-c ../constraints.txt", "-e .[notebooks]"]
    assert "Python 3.11" in (BOOK / "hosting.md").read_text()
    assert (binder / "runtime.txt").read_text().strip() == "python-3.11"


# --- The notes --------------------------------------------------------------------------------------------------------


def sections() -> dict[str, str]:
    found = re.split(r"^## (\d\d) · .+$", NOTES, flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def test_each_chapter_has_a_plan_of_90_minutes_two_questions_and_a_drawing() -> None:
    assert list(sections()) == [path.name[:2] for path in chapters()]
    for number, text in sections().items():
        assert sum(map(int, re.findall(r"^- (\d+) minutes:", text, re.M))) == 90, number
        room = text.split("**Two questions for the room**")[1].split("**On the board**")[0]
        asked = re.split(r"^\d\. ", room, flags=re.MULTILINE)[1:]
        assert len(asked) == 2 and all("Expected:" in one and "Answer:" in one for one in asked), number
        assert "```text\n" in text and f"{{{{ facts-{number} }}}}" in text and f"{{{{ mistakes-{number} }}}}" in text


def test_the_numbers_of_the_questions_for_the_room() -> None:
    said = " ".join(NOTES.split())
    pole = right("discounted_return")(torch.ones(500, dtype=torch.float64), 0.997)
    assert f"/ 0.003 = {pole:.0f}" in said
    assert f"= {right('false_death_value')(row(1.0)[0], row(100.0)[0], 0.997).item():.0f}. The clock" in said
    assert f"= {right('lambda_weights')(15, 0.95)[-1]:.2f}. At the horizon" in said
    assert 100 * 0.5**5 == 3.125 and "100 · 0.5^5 = 3.125" in said
    (mean, precision), readings = (0.0, 1.0), (1.0, 1.0)
    for reading in readings:
        mean, precision = (precision * mean + 4 * reading) / (precision + 4), precision + 4
    assert math.isclose(mean, 8 / 9) and math.isclose(1 / precision, 1 / 9) and "8/9 = 0.89, variance 1/9" in said
    p, r = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([110.0, 112.0, 116.0])
    each = r[:, None] * (torch.eye(3) - p)
    noise = (p @ (each - p @ each).square()).sum().sqrt()
    assert torch.allclose(p @ each, torch.tensor([-1.0, 0.0, 1.0]), atol=1e-4) and f"to {noise:.0f}. A baseline" in said
    assert f"√(1 + 0.01) = {math.sqrt(1.01):.3f}" in said
    assert f"0.5^5 = {1 - 2 * 0.5**5:.0%}".replace("%", " %") in said
    assert f"ln 800 = {math.log(800):.1f} nats" in said and f"about {32 * math.log(800):.0f} nats" in said
    half = 0.5 * math.log(1_000_001)
    assert f"Answer: {math.expm1(half):.0f}. The mean of the logarithms" in said
    assert math.isclose((1 + 0.9 * 0.0 * 12) / (1 - 0.9), 10.0)
    sides, places = [84], right("convolution_size")
    while len(sides) < 5:
        sides.append(int(places(*(torch.tensor([x]) for x in (sides[-1], 4, 2, 0)))))
    assert f"Answer: {', '.join(map(str, sides[1:]))}." in said
    assert f"Expected: {10 * 19 / 21:.2f}" in said
    density = math.exp(right("normal_log_prob")(*(torch.tensor([[[x]]]) for x in (0.0, 0.1, 0.0))).item())
    assert f"{density:.2f} · 0.02 = {0.02 * density:.2f}" in said
    assert f"1.3^20 = {1.3**20:.0f}" in said
    divergences = torch.tensor([1.2, 5.0])
    mean = (
        (2 * divergences / 4).sqrt()[:, None].expand(2, 4)
    )  # KL of a bell of width 1 from N(0, 1): half its mean squared
    floor = right("tolerant_divergence")(mean, torch.zeros(2, 4), 0.5)
    assert f"Expected: {divergences.mean():.1f}, the mean" in said and f"(2 + 5) / 2 = {floor:.1f}, and only" in said
    rock = right("tempered")(torch.tensor([[0.25, 0.75]], dtype=torch.float64).log(), row(0, 0), row(0, 0), 0.1)[0][
        0, 0
    ].exp()
    assert f"1 / (1 + 3^10), 1 in {1 / rock:,.0f}," in said
    flop = right("flop_of_dense")(*(torch.tensor([n]) for n in (1000, 1024, 1024))).item()
    assert f"= {flop / 1e9:.1f} GFLOP, so {1000 * flop / 90e9:.0f} ms." in said
    ring = right("ring_all_reduce_seconds")(torch.tensor([10**8]), torch.tensor([2]), torch.tensor([10.0])).item()
    assert f"Answer: {ring:.2f} s. Each" in said
    clip = right("clip_by_share")(row(3.0, 4.0), row(0.0, 0.0), 0.3, 0.001)
    assert math.isclose(clip.norm().item(), 0.0003, rel_tol=1e-4) and "0.3 · 0.001 = 0.0003" in said
    forever, once = 1 / (1 - 0.9), (1 - 0.9**10) / (1 - 0.9)
    assert f"1 / (1 - 0.9) = {forever:.0f}, and (1 - 0.9^10) / 0.1 = {once:.1f} if" in said
    ones = torch.ones(1, 4)
    for lam in (0.0, 0.3, 1.0):
        fixed = right("lambda_returns")(ones, ones / 2, 2 * ones, lam)
        assert set(fixed.flatten().tolist()) == {2.0} and "1 + 0.5 · 2 = 2 in every column" in said
    hope = [right("shaped_reward")(row(0.0), row(4.0, 1.0), torch.tensor([[end]]), 0.5).item() for end in (False, True)]
    assert f"0.5 · 1 - 4 = {hope[0]:g}, and {hope[1]:g}: after" in said


# --- The exam bank ----------------------------------------------------------------------------------------------------


def test_the_bank_has_two_questions_for_each_chapter_and_each_rests_on_sections_that_are_there() -> None:
    assert [one.chapter for one in BANK.values()] == [path.name[:2] for path in chapters() for _ in range(2)]
    assert all(3 <= one.points <= 6 for one in BANK.values())
    for name, one in BANK.items():
        places = re.findall(r"\[(\d\d), (.+?)\]\(\.\./notebooks/(.+?)\)", one.rests_on)
        assert places and places[0][0] == one.chapter, name
        for _, heading, file in places:
            assert re.search(rf"^##+ (\d\. )?{re.escape(heading)}$", markdown(read(NOTEBOOKS / file)), re.M), heading


def answers_to_the_bank() -> dict[str, tuple[str, ...]]:
    """What stands in each answer, computed."""
    flags = torch.tensor([[False, False, True, False]])
    nothing = torch.zeros_like(flags)
    real, imagined = row(0.0, 2.0, 0.0, 4.0), row(1.0, 2.0, 8.0, 6.0)
    ran_out, fell = (right("replay_returns")(real, flags, end, imagined, 0.5, 0.5) for end in (nothing, flags))
    pencil = row(1.0, 0.0, 2.0), row(0.5, 0.5, 0.5), row(4.0, 2.0, 6.0)
    r, d, v = pencil
    whole = right("lambda_returns")(*pencil, 0.5)[0]
    cut = right("lambda_returns")(r, d * row(1.0, 0.0, 1.0), v, 0.5)[0]
    divergence = torch.tensor([[0.2, 0.3], [1.5, 0.1]])
    bells = [torch.tensor([x]) for x in (1.0, 2 * math.log(0.5), -1.0, 0.0)]
    forwards, backwards = gaussian_kl(*bells), gaussian_kl(*bells[2:], *bells[:2])
    weights = right("imagined_weight")(row(1.0, 1.0, 0.5, 0.0, 1.0), 0.9)[0]
    bins = torch.tensor([0.0, 1.0, 4.0, 10.0])
    slope = right("two_hot_slope")(torch.zeros(1, 4), torch.tensor([2.5]), bins)[0]
    half = torch.tensor([[0.5, 0.5]])
    pairs = torch.tensor([[[0.5, 0.0], [0.0, 0.5]], [[0.25, 0.25], [0.25, 0.25]], [[0.5, 0.25], [0.25, 0.0]]])
    vain = right("price_of_independence")(pairs)
    _, std = right("bounded_normal")(row(0.0), row(0.0), 0.1, 1.0)
    sizes = [torch.tensor(x) for x in zip((16, 5, 1, 2), (64, 4, 2, 1), (7, 3, 2, 0), strict=True)]
    valve = right("scaled_action")(torch.tensor([[0.5], [-2.0]]), torch.tensor([10.0]), torch.tensor([30.0]))
    kept = right("gated_update")(*(torch.tensor([[x]]) for x in (1.0, 0.0, 0.0, 0.0))) ** 3
    stream = row(0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0)[0]
    first, last = (torch.tensor([n in rows for n in range(7)]) for rows in ((0, 3), (2,)))
    (episode,) = right("episode_returns")(stream, first, last)
    steps = torch.tensor([5002, 1003])
    due = right("updates_due")(steps, 1000, 128, 16, 32).tolist()
    weight, _, log_std = zip(
        *(right("tempered")(row(0.9, 0.1).log(), row(0.0, 0.0), row(0.0, 0.0), t) for t in (0.5, 2.0)), strict=True
    )
    cold, warm = (x.exp()[0].tolist() for x in weight)
    variance = [(2 * x[0, 0]).exp().item() for x in log_std]
    pays, ends = row(1.0, 1.0, 0.0, 1.0, 1.0), torch.tensor([[False, False, True, False, True]])
    drawn = row(-0.8, 0.2, 0.4, 0.6, 0.9, 1.4).clamp(-1, 1)
    plan = [x.item() for x in right("refit")(drawn[..., None, None], -(drawn - 0.5).square(), 2)]
    earned = [
        right("candidate_returns")(
            torch.zeros(1, 1),
            torch.zeros(1, 1, 3, 1),
            lambda s, a: s,
            lambda s, r=r: s[:, 0] + r,
            lambda s, c=c: s[:, 0] + c,
        ).item()
        for r, c in ((1.0, 0.5), (0.6, 1.0), (1.0, 1.0))
    ]
    ahead = right("matched_differences")(
        torch.tensor([3, 1, 2]), row(30.0, 11.0, 25.0)[0], torch.tensor([1, 4, 3]), row(10.0, 40.0, 20.0)[0]
    )
    middle = right("interquartile_mean")(torch.tensor([[9.0, 1.0, 4.0], [2.0, 30.0, 5.0]])).item()
    asked = Cost(flop=80e9, bytes=10e9, operators=16_000, parameters=0)
    core = Machine("core", 80e9, 10e9, 1e-6, overlaps=False)
    gpu = Machine("GPU", 100e12, 1e12, 5e-6)
    waits = list(gpu.terms(asked).values())
    shared = right("averaged_gradient")(torch.tensor([[1.0], [5.0]]), torch.tensor([6, 2])).item()
    litres = 2 * torch.tensor([1.0, 3.0, 1.0])
    shaped = right("shaped_reward")(row(0.0, 0.0), litres[None], torch.zeros(1, 2, dtype=torch.bool), 0.5)[0].tolist()
    paid, kept_, worth = row(2.0, 3.0), row(0.5, 0.25), row(6.0, 8.0)
    tested, swapped = (right("lambda_returns")(paid, kept_, worth, lam)[0].tolist() for lam in (0.25, 0.75))
    laws = right("row_faults")(
        row(0.0, 1.0, 1.0, 0.0, 2.0, 1.0)[0],
        *(torch.tensor([n in rows for n in range(6)]) for rows in ((0, 3, 4), (2, 5), (1, 2))),
    ).tolist()
    return {
        "0.A": (f"= {right('discounted_return')(torch.tensor([1.0, 2.0, 4.0]), 0.5):g}.", f"= {3 + 0.5**3 * 8:g}."),
        "0.B": (f"= {episode:g};",),
        "1.A": (f"variance {1 / 1.25:g}", f"(5/4) = {0.25 / 1.25:g}"),
        "1.B": ("a half" if right("signal_share")(row(0.0, 2.0).T, torch.zeros(2, 1)) == 0.5 else "!",),
        "2.B": (f"{right('useful_horizon')(row(0.1, 0.2, 0.5, 0.1), row(0.3, 0.3, 0.4, 0.6)).item()}: in the third",),
        "3.A": (f"= {math.log(1 + 1 / math.e):.4f}",),
        "3.B": (f"= {right('false_death_value')(row(2.0)[0], row(20.0)[0], 0.99).item():g}.", f"= {2 / 0.01:g}"),
        "4.A": (f"= {forwards.item():.3f},", f"= {backwards.item():.3f}."),
        "4.B": (
            f"= {divergence.sum(1).clamp(min=1).mean():g},",
            f"= {divergence.clamp(min=1).sum(1).mean():g},",
            f"= {divergence.sum(1).mean().clamp(min=1):g},",
        ),
        "5.A": (f"1, {weights[1]:g}, 0.9 · 0.45 = {weights[2]:g}, {weights[3]:g}.",),
        "5.B": (f"= {right('imagined_return')(row(1.0, 2.0, 4.0), row(1.0, 0.5, 0.5, 1.0)).item():g}.",),
        "6.A": (f"= {whole[2]:g},", f"= {whole[1]:g},", f"= {whole[0]:g}.", f"R_1 = {cut[1]:g},", f"= {cut[0]:g}."),
        "6.B": (f"0.5 · 0) = {2 + 0.5 * 0.5 * 6:g}", "`bootstrap_missing`"),
        "7.A": ("= (-1, 1)" if right("bandit_gradient")(half.log(), row(0.0, 4.0)).tolist() == [[-1, 1]] else "!",),
        "7.B": (f"= {torch.tensor([5.0, 6.0, 8.0]).softmax(0)[2]:.3f}",),
        "8.A": (f"position {10 % 8}", f"Rows {11 - 8} to 10", f"Starts 3 to {11 - 3}"),
        "8.B": (f"so {due[0]:,};", f"so {due[1]}."),
        "9.A": (f"= {kept.item():.3f}", f"{torch.sigmoid(torch.tensor(-6.0)):.2%}".replace("%", " %")),
        "10.B": (f"= {vain[0]:.3f}; {abs(vain[1]):.0f};", f"{vain[2]:.3f}"),
        "11.A": (f"= {right('two_hot_mean')(torch.full((1, 4), 0.25), bins).item():g}",),
        "11.B": (f"({', '.join('1/4' if x > 0 else '-1/4' for x in slope.tolist())})",),
        "12.A": (f"= {ran_out[0, 1]:g},", f"= {ran_out[0, 0]:g}.", f"R_1 = {fell[0, 1]:g},", f"= {fell[0, 0]:g}."),
        "12.B": (f"{0.3 * 2:g} and {0.3 * 0.001:g}",),
        "13.A": ("{}, {} and {}.".format(*right("convolution_size")(*sizes).tolist()),),
        "13.B": (f"= {100 / 768:.2f}",),
        "14.A": (f"= {std.item():.3f}", f"{2 * torch.special.ndtr(-1 / std).item():.0%}".replace("%", " %")),
        "14.B": ("{:g} and {:g}.".format(*valve.flatten().tolist()), f"ln 10 = {math.log(10):.1f}"),
        "15.A": (f"{laws[0]} (row 4), {laws[1]} (row 1), {laws[2]} (row 4) and {laws[3]}:",),
        "15.B": (
            f"R_1 = 3 + 8/4 = {tested[1]:g} and R_0 = 2 + (4.5 + 1.25) / 2 = {tested[0]:g}.",
            f"{swapped[1]:g} again, and {swapped[0]:g}.",
        ),
        "16.A": ("11 - 10 = {:g} on seed 1 and 30 - 20 = {:g} on seed 3".format(*ahead.tolist()),),
        "16.B": (f"/ 4 = {middle:g}.", f"= {51 / 6:g}."),
        "17.A": (
            f"= {cold[0]:.3f} and {cold[1]:.3f}, variance {variance[0]:g}.",
            f"{4 * warm[0]:.0f} / 4 and {4 * warm[1]:.0f} / 4, since the square roots are as 3 to 1,"
            f" variance {variance[1]:g}.",
        ),
        "17.B": (f"= {right('dream_return')(pays, ends).item():g}: the step", f"The sum is {pays.sum():g}:"),
        "18.A": (f"mean {plan[0]:g}, standard deviation {plan[1]:.1f}.",),
        "18.B": (f"= {earned[0]:g}, and {earned[1]:.2g}:", f"for {earned[2]:g}."),
        "19.A": (f"= {shaped[0]:g}, and 0.5 · 2 - 6 = {shaped[1]:g}.", f"{litres[1]:g} and {litres[2]:g}."),
        "19.B": (f"{4 - sum((2, 4, 6, 4)) / 4:g}, since the mean is {sum((2, 4, 6, 4)) / 4:g}.",),
        "20.A": (
            f"= {right('updates_of_run')(torch.tensor([400_000]), 4, 128, 16, 64).item():,} updates.",
            f"= {core.seconds(asked):.3f} s.",
            f"longest of {1000 * waits[0]:g} ms, {1000 * waits[1]:g} ms and {1000 * waits[2]:g} ms:",
            f"{1000 * gpu.seconds(asked):g} ms. It waits for starts;" if gpu.bound(asked) == "starting" else "!",
        ),
        "20.B": (f"= {shared:g}; a plain mean gives {(1 + 5) / 2:g}.", f"would be {0.02 * (1 - 0.92):.4f},"),
    }


@pytest.mark.parametrize(("name", "said"), answers_to_the_bank().items())
def test_an_answer_of_the_bank_is_what_comes_out(name: str, said: tuple[str, ...]) -> None:
    answer = " ".join(BANK[name].answer.split())
    for number in said:
        assert number in answer, (number, answer)


def test_what_the_bank_says_without_a_number_is_so() -> None:
    latent, action = torch.arange(1.0, 5).reshape(1, 4, 1), 10 * torch.arange(1.0, 5).reshape(1, 4, 1)
    first = torch.tensor([[True, False, True, False]])
    before, led = right("prior_inputs")(latent, action, first, torch.full((1, 1), 9.0))  # the action of row t led there
    assert before.flatten().tolist() == [0, 1, 0, 3] and led.flatten().tolist() == [0, 20, 0, 40]
    shares = torch.tensor([[[0.2, 0.3, 0.5]] * 3])
    darts = torch.tensor([[0.1, 0.45, 0.95]])
    assert right("categorical_sample")(shares, darts).argmax(-1).tolist() == [[0, 1, 2]]
    bins = torch.tensor([0.0, 1.0, 4.0, 10.0])
    two = right("two_hot")(torch.tensor([2.5, 12.0]), bins)
    assert two.tolist() == [[0, 0.5, 0.5, 0], [0, 0, 0, 1]]
    assert math.expm1(torch.log1p(bins).mean().item()) < 3.75
    assert {int((size - 4) // 2 + 1) for size in (30, 31)} == {14}
    still, step = torch.tensor(0.92, dtype=torch.bfloat16), torch.tensor(0.0016, dtype=torch.bfloat16)
    assert still + step == still


def test_an_exam_has_the_questions_without_their_answers() -> None:
    chosen = [BANK["4.A"], BANK["6.A"]]
    printed = exam.paper(chosen, answers=False)
    assert "# 11 points" in printed and "## 2. With a pencil (6 points)" in printed and "2.4375" not in printed
    assert "2.4375" in exam.paper(chosen, answers=True)


def test_students_and_readers_of_the_book_are_not_handed_the_answers(tmp_path: Path) -> None:
    (path,) = chapters(["06"])
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / path.name).write_text(path.read_text())
    for solutions in (False, True):
        student.build(tmp_path / "out", solutions, notebooks=tmp_path / "one")
        assert not [file for file in (tmp_path / "out").rglob("*") if "exam" in file.name]
    assert not [file for file in BOOK.rglob("*.md") if "exam_bank" in file.name]
    for path in chapters():
        assert "teaching/" not in markdown(read(path))
