"""The sources of the website: every page is there, every name and every number on it comes from somewhere.

That a browser shows it well is tested by `make browser`.
"""

import dataclasses
import importlib
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import book_api
import book_check
import book_css
import book_finish
import book_pages
import book_pdf
import book_results
import book_search
import book_two
import book_zoo
import navigate
import pytest
import yaml
from course import chapters, read, write
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_notebook

import book
from wm_tutorial import figures, zoo
from wm_tutorial.config import Config, section_options
from wm_tutorial.data import Spaces
from wm_tutorial.figures import style, svg
from wm_tutorial.world_model import WorldModel

ROOT = Path(__file__).parent.parent
BOOK = ROOT / "book"
TOC = yaml.safe_load((BOOK / "_toc.yml").read_text())
LISTED = [TOC["root"], *(entry["file"] for part in TOC["parts"] for entry in part["chapters"])]
MAP = json.loads((BOOK / "paper_map.json").read_text())
GLOSSARY = (BOOK / "glossary.md").read_text()
BIBLIOGRAPHY = (BOOK / "references.bib").read_text()
MADE = (
    "results",
    "run_times",
    "zoo_measured",
    "guide",
    "api/index",
    *(Path(page).stem for page in book.AT_THE_ROOT.values()),
)
ADDRESS = "https://github.com/someone/somewhere"
TERMS = {"prior": "term-prior"}


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Jupyter Book reads, without an address of the repository."""
    source = tmp_path_factory.mktemp("book")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(book, "address", lambda: None)
        book.gather(source)
    return source


# --- Contents ---------------------------------------------------------------------------------------------------------


def test_every_page_and_every_chapter_is_in_the_table_of_contents_once() -> None:
    pages = {path.stem for path in BOOK.glob("*.md")} | set(MADE) | {f"notebooks/{path.stem}" for path in chapters()}
    assert len(LISTED) == len(set(LISTED)) and pages <= set(LISTED)


def test_what_is_listed_is_a_page_or_a_chapter_still_to_come(gathered: Path) -> None:
    for name in LISTED:
        there = any((gathered / f"{name}{end}").exists() for end in (".md", ".ipynb"))
        assert there or re.fullmatch(r"notebooks/\d\d_\w+", name)
    kept = yaml.safe_load((gathered / "_toc.yml").read_text())
    assert f"notebooks/{'99_nothing'}" not in str(kept)
    assert {f"notebooks/{path.stem}" for path in chapters()} == set(re.findall(r"notebooks/\w+", str(kept)))


def test_chapters_on_the_page_for_teachers_say_what_they_teach_and_what_they_take() -> None:
    for path in chapters():
        chapter = book_pages.Chapter.read(path)
        assert 3 <= len(chapter.goals) <= 4 and 10 <= chapter.minutes <= 240 and chapter.compute and chapter.ends_in
        assert all(before < chapter.number for before in chapter.builds_on)


def test_no_blank_is_left_to_fill(gathered: Path) -> None:
    for page in gathered.rglob("*.md"):
        assert not re.search(r"\{\{ [\w-]+ \}\}", page.read_text()), page.name


# --- The address of the repository ------------------------------------------------------------------------------------


def theme_options(source: Path) -> dict[str, object]:
    """What the theme is told, from which it makes the buttons."""
    return yaml.safe_load((source / "_config.yml").read_text())["sphinx"]["config"]["html_theme_options"]


def test_without_an_address_there_are_no_buttons_and_no_links_to_it(gathered: Path) -> None:
    assert not {"repository_url", "launch_buttons"} & set(theme_options(gathered))
    assert "pip install ." in (gathered / "how_to_use.md").read_text()


def test_every_button_and_link_is_derived_from_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "address", lambda: ADDRESS)
    book.gather(tmp_path)
    options = theme_options(tmp_path)
    assert (options["repository_url"], options["repository_branch"], options["path_to_docs"]) == (ADDRESS, "main", "")
    assert {"colab_url", "binderhub_url"} <= set(options["launch_buttons"])
    assert f'pip install "wm_tutorial @ git+{ADDRESS}"' in (tmp_path / "how_to_use.md").read_text()
    linked = {
        target
        for page in tmp_path.glob("*.md")
        for target in re.findall(rf"{ADDRESS}/blob/main/([^)#\s]+)", page.read_text())
    }
    assert linked and all((ROOT / target).exists() for target in linked)


@pytest.mark.parametrize("name", book.AT_THE_ROOT)
def test_links_of_a_page_at_the_root_lead_somewhere_there_and_in_the_book(gathered: Path, name: str) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", (ROOT / name).read_text())
    assert all((ROOT / target).exists() for target in targets)
    page = gathered / book.AT_THE_ROOT[name]
    turned = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    assert len(turned) <= len(targets) and all((page.parent / target).exists() for target in turned)


# --- Links and terms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "turned"),
    [
        ("[kl](../wm_tutorial/kl.py)", "[kl](../api/kl.md)"),
        ("[a bug](../wm_tutorial/zoo/kl.py)", "[a bug](../api/zoo.md)"),
        ("[page](../book/glossary.md#a)", "[page](../glossary.md#a)"),
        ("[add a chapter](../CONTRIBUTING.md#a-chapter)", "[add a chapter](../contribute.md#a-chapter)"),
        ("[later](99_later.ipynb)", "later"),
        ("[test](../tests/test_kl.py)", "test"),
        ("[out](https://example.org/a)", "[out](https://example.org/a)"),
        ("`[code](nowhere.md)` and $[x](y)$", "`[code](nowhere.md)` and $[x](y)$"),
    ],
)
def test_links_of_a_chapter_become_links_of_the_book(gathered: Path, written: str, turned: str) -> None:
    assert book.relink(written, "notebooks/00_start.ipynb", gathered, None) == turned


def test_the_book_leaves_out_the_links_to_other_chapters_which_it_has_itself(gathered: Path, tmp_path: Path) -> None:
    path, *_ = chapters()
    notebook = read(path)
    navigate.link_chapter(notebook, path.stem, navigate.titles())
    write(notebook, tmp_path / path.name)
    assert "\nChapters: " in notebook.cells[-1].source
    turned = book.chapter_of_the_book(tmp_path / path.name, gathered, None, TERMS)
    assert turned == book.chapter_of_the_book(path, gathered, None, TERMS)
    assert "\nChapters: " not in turned["cells"][-1]["source"]


def test_a_check_shows_its_sentence_and_not_what_it_returns(gathered: Path) -> None:
    shown = [
        ["".join(output.get("data", {}).get("text/plain", output.get("text", ""))) for output in cell["outputs"]]
        for path in chapters()
        for cell in json.loads((gathered / "notebooks" / path.name).read_text())["cells"]
        if cell["cell_type"] == "code" and "".join(cell["source"]).rpartition("\n")[2].startswith("check.")
    ]
    assert len(shown) > 30 and all(outputs and not {"True", "False"} & set(outputs) for outputs in shown)


def test_a_link_that_leads_nowhere_stops_the_build(gathered: Path) -> None:
    with pytest.raises(SystemExit, match=r"nowhere\.md leads nowhere"):
        book.relink("[x](nowhere.md)", "notebooks/00_start.ipynb", gathered, None)


def test_the_first_use_of_a_term_is_linked_and_only_that() -> None:
    terms = {"prior": "term-prior", "priors": "term-prior", "lambda return": "term-lambda-return"}
    first, second = book.link_terms(
        ["# The prior\n\nA `prior`, a prior and a **prior**, two priors. Not a-prior.", "A Lambda return."], terms
    )
    assert first == "# The prior\n\nA `prior`, a prior and a **[prior](#term-prior)**, two priors. Not a-prior."
    assert second == "A [Lambda return](#term-lambda-return)."


def test_no_term_is_linked_inside_a_formula() -> None:
    formula = "$$\\text{prior} \\quad\n\\text{prior}$$"
    (text,) = book.link_terms([f"{formula}\n\nThe prior."], {"prior": "term-prior"})
    assert text == f"{formula}\n\nThe [prior](#term-prior)."


def test_the_glossary_is_in_order_and_has_no_spelling_twice() -> None:
    entries = re.findall(r"^### (.+)$", GLOSSARY, re.MULTILINE)
    assert entries == sorted(entries, key=str.lower) and len(entries) > 60
    spellings = entries + [
        s for also in re.findall(r"^Also: (.+)\.$", GLOSSARY, re.MULTILINE) for s in also.split(", ")
    ]
    assert len({spelling.lower() for spelling in spellings}) == len(spellings)
    assert len(book_pages.terms(GLOSSARY)) == len(spellings)


# --- The card of symbols ----------------------------------------------------------------------------------------------

CARD = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    for line in (BOOK / "symbols.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| symbol")
]
MATHEMATICS = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", re.DOTALL)
AXES = re.compile(r"\([^()\n]*[A-Z][^()\n]*\)")  # (B, T, A), in the text or in the code


def uses(notebook: NotebookNode, symbol: str) -> bool:
    """Whether a chapter has a symbol in its formulas, or a letter for a size in its shapes."""
    sources = [cell.source for cell in notebook.cells]
    if not symbol.startswith("$"):
        return any(re.search(rf"\b{symbol}\b", shape) for text in sources for shape in AXES.findall(text))
    letter = re.escape(re.sub(r"_t$|\\mathrm\{(\w+)\}", r"\1", symbol.strip("$")))
    formulas = [" ".join(found) for text in sources for found in MATHEMATICS.findall(text)]
    return any(re.search(rf"(?<![A-Za-z\\]){letter}(?![A-Za-z])", formula) for formula in formulas)


@pytest.mark.parametrize("row", CARD, ids=lambda row: row[0])
def test_a_symbol_is_met_in_its_chapter_and_has_its_name_in_the_code(row: list[str]) -> None:
    symbols, _, meaning, name, chapter = row
    module, *path = name.strip("`").split(".")
    found = importlib.import_module(f"wm_tutorial.{module}")
    for attribute in path:
        found = getattr(found, "__dataclass_fields__", {}).get(attribute) or attribute_of(found, attribute)
    assert meaning and found is not None
    linked = re.findall(r"\((\.\./notebooks/(\d\d)_\w+\.ipynb)\)", chapter)
    assert linked or chapter == "Part II"
    texts = [read((BOOK / path).resolve()) for path, _ in linked]
    for symbol in symbols.split(", "):
        assert not texts or any(uses(text, symbol) for text in texts), symbol


def attribute_of(found: object, attribute: str) -> object:
    """An attribute, or the fact that instances are given one."""
    if hasattr(found, attribute):
        return getattr(found, attribute)
    assert f"self.{attribute} = " in inspect.getsource(found), attribute  # type: ignore[arg-type]
    return attribute


def test_the_card_has_every_letter_once_and_every_size_of_the_convention() -> None:
    symbols = [symbol for row in CARD for symbol in row[0].split(", ")]
    assert len(symbols) == len(set(symbols)) and len(CARD) > 25
    sizes = re.findall(r"\| ([A-Z](?: x [A-Z])?) \|", (BOOK / "convention.md").read_text())
    assert {letter for size in sizes for letter in size.split(" x ")} <= set(symbols)


def test_the_numbers_on_the_card_are_those_of_the_agent_of_part_one() -> None:
    config = Config()
    model = WorldModel(Spaces("vector", (4,), "discrete", 2, (0.0,), (1.0,)), config)
    said = {row[0]: re.findall(r"\d[\d.]*", re.split(r": |, (?=0\.)", row[2])[-1]) for row in CARD}
    numbers = {
        "$\\gamma$": [config.discount], "$\\lambda$": [config.lam], "$\\eta$": [config.entropy_scale],
        "B, T": [config.batch_size, config.sequence_length], "N, H": [config.imagined_starts, config.horizon],
        "E": [model.encoder.outputs], "Z, F": [model.dynamics.latent_size, model.features],
    }  # fmt: skip
    assert {symbol: [float(number) for number in said[symbol]] for symbol in numbers} == numbers


def test_a_chapter_that_lacks_a_symbol_is_noticed() -> None:
    notebook = new_notebook(cells=[new_markdown_cell("The value $v_{t+1}$ of $\\lambda$, (B, T).")])
    assert uses(notebook, "$v_t$") and uses(notebook, "$\\lambda$") and uses(notebook, "T")
    assert not uses(notebook, "$r_t$") and not uses(notebook, "H") and not uses(notebook, "$a_t$")


# --- The paper map ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", MAP, ids=lambda row: row["name"])
def test_every_target_of_the_paper_map_is_there(row: dict[str, list[str]]) -> None:
    assert all(f"notebooks/{chapter}" in LISTED for chapter in row["chapters"])
    said = ""
    for name in row["functions"]:
        module, *path = name.split(".")
        found = importlib.import_module(f"wm_tutorial.{module}")
        for attribute in path:
            found = getattr(found, attribute)
        said += Path(sys.modules[found.__module__].__file__ or "").read_text()
    assert row["functions"] and row["tests"]
    for test in row["tests"]:
        file, name = test.split("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text()
    for place in row["reference"]:
        assert re.fullmatch(r"(dreamerv3|embodied)/[\w/]+\.(py|yaml)(:\d+(-\d+)?)?", place)


def test_every_equation_of_the_map_is_in_a_chapter_and_its_function_is_named_there() -> None:
    for row in MAP:
        for path in (path for path in chapters() if path.stem in row["chapters"]):
            named = path.read_text()
            assert any(name.split(".")[-1] in named for name in row["functions"]), (row["name"], path.stem)


def test_the_map_stands_on_its_page_with_numbers_in_order(gathered: Path) -> None:
    numbers = re.findall(r"^## \((\d+)\)", (gathered / "paper_map.md").read_text(), re.MULTILINE)
    there = {path.stem for path in chapters()}
    assert len(numbers) == sum(bool(there & set(row["chapters"])) for row in MAP)
    assert numbers == [str(number + 1) for number in range(len(numbers))]


# --- The reference ----------------------------------------------------------------------------------------------------


def test_every_room_is_in_one_group_of_the_reference_and_has_a_page(gathered: Path) -> None:
    rooms = [room.name for room in book_api.modules(ROOT / "wm_tutorial")]
    grouped = [room for group in book_api.grouped([*rooms, "newest"]).values() for room in group]
    assert sorted(grouped) == sorted([*rooms, "newest"])
    index = (gathered / "api" / "index.md").read_text()
    assert all((gathered / "api" / f"{room}.md").exists() and f"]({room}.md)" in index for room in rooms)


def test_every_name_of_the_guide_has_an_anchor_in_the_reference(gathered: Path) -> None:
    anchors = {
        a for page in (gathered / "api").glob("*.md") for a in re.findall(r"^\(([\w-]+)\)=", page.read_text(), re.M)
    }
    asked = set(
        re.findall(r"\]\(#([\w-]+)\)", (gathered / "guide.md").read_text() + (gathered / "paper_map.md").read_text())
    )
    assert len(asked) > 15 and asked <= anchors


def test_the_options_stand_on_their_page_under_the_headings_of_their_sections(gathered: Path) -> None:
    page = (gathered / "api" / "config.md").read_text()
    told = page.split("`Config`\n")[1].split("\n## ")[0]
    parts = re.split(r"^### (?!`)(.+)$", told, flags=re.MULTILINE)
    found = {
        title: re.findall(r"^- `(\w+) = ", text, re.MULTILINE)
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }
    assert found == section_options()


def test_a_docstring_becomes_lists_code_and_warnings() -> None:
    doc = (
        "Adds.\n\n    x + y\n\nCritical: both * count.\n\nArgs:\n    x: (B,)\n        numbers.\n    y: one, see `x`."
        "\n\na  (B,)\nb  more\n   of it\n->  (B,)\n\nalone  here\n\n| a | b |\n|---|---|\n| c | d |"
    )
    assert book_api.prose(doc, {}) == (
        "Adds.\n\n```text\nx + y\n```\n\n```{warning}\nBoth \\* count.\n```\n\n**Args**\n\n"
        "- `x`: (B,) numbers.\n- `y`: one, see `x`.\n\n- `a`: (B,)\n- `b`: more of it\n- **returns**: (B,)\n\n"
        "- `alone`: here\n\n| a | b |\n|---|---|\n| c | d |"
    )


def test_an_example_with_empty_lines_stays_whole_and_what_is_explained_becomes_a_list() -> None:
    doc = (
        "class A(B):\n\n    def f(self):\n        return 1\n\ntrain(A())\n\n"
        "lit: names\nof it.\nhow: many\nRaises E if not.\n\nNo list: this."
    )
    assert book_api.prose(doc, {}) == (
        "```python\nclass A(B):\n\n    def f(self):\n        return 1\n\ntrain(A())\n```\n\n"
        "- `lit`: names of it.\n- `how`: many\n\nRaises E if not.\n\nNo list: this."
    )


def test_no_columns_of_a_docstring_run_together() -> None:
    for name, page in book_api.pages(ROOT / "wm_tutorial").items():
        prose = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
        lines = [line for line in prose.splitlines() if re.search(r"\w {2,}\S", line) and not line.startswith("|")]
        assert not lines, (name, lines[0])


# --- Sources ----------------------------------------------------------------------------------------------------------


def test_no_entry_of_the_bibliography_stands_there_twice() -> None:
    keys = re.findall(r"^@\w+\{([^,]+),", (BOOK / "references.bib").read_text(), re.MULTILINE)
    assert len(keys) > 20 and len(set(keys)) == len(keys)


def test_every_entry_of_the_bibliography_can_be_found() -> None:
    entries = re.split(r"^@", BIBLIOGRAPHY, flags=re.MULTILINE)[1:]
    assert len(entries) > 15
    for entry in entries:
        assert re.search(r"doi = \{10\.\d+/\S+\}|arxiv\.org/abs/\d{4}\.\d{4,5}\}|isbn = \{\d{13}\}", entry), entry


def test_every_preprint_that_is_named_somewhere_is_in_the_bibliography() -> None:
    texts = [path.read_text() for path in [*(ROOT / "wm_tutorial").rglob("*.py"), *chapters()]]
    preprint = re.compile(r"arXiv[: ]*(?:\[|abs/)?(\d{4}\.\d{4,5})", re.IGNORECASE)
    named = {number for text in texts for number in preprint.findall(text)}
    assert named <= set(re.findall(r"arxiv\.org/abs/([\d.]+)", BIBLIOGRAPHY))


def test_every_measured_result_has_a_figure_a_sentence_and_its_folded_command(gathered: Path) -> None:
    page = (gathered / "results.md").read_text()
    sections = dict(re.findall(r"^\(([\w-]+)\)=\n### (.*?)(?=^\([\w-]+\)=$|^## )", page, re.M | re.S))
    folders = {path.parent for path in (BOOK / "results").rglob("seed-*.json")}
    assert len(folders) >= len(sections) > 15
    for result in book_results.read((BOOK / "results" / "README.md").read_text()):
        said = sections[book_results.anchor(result.folder)]
        records = [json.loads(p.read_text()) for p in (BOOK / "results" / result.folder).glob("seed-*.json")]
        returns = [record["final_returns"] for record in records]
        drawn = len(records) if min(len(record["evaluations"]) for record in records) > 1 else 0  # there is a curve
        means = [sum(seed) / len(seed) for seed in returns]
        assert f"{len(means)} seeds earn **{sum(means) / len(means):.1f}** on average" in said
        assert f"the worst of them {min(means):.1f}" in said and said.count('class="seed"') == drawn
        before, _, folded = said.partition("<details>")
        assert f"--out book/results/{result.folder} " in folded and "wm-tutorial measure" not in before


@pytest.mark.parametrize(
    ("aim", "finals", "said"),
    [
        ("475 in 5,000, each seed", [500.0, 474.0], "; each should reach 475, and 1 of them does"),
        ("-160 in 10,000, each seed", [-150.0, -155.0], "; each should reach -160, and all do"),
        ("450 in 20,000", [500.0, 390.0], "; the mean should reach 450, and does not"),
        ("9 of 10", [9.0, 9.5], "; the mean should reach 9, and does"),
        ("below 200", [42.0, 43.0], "; it should stay below 200, and does"),
        ("none: batch 8 x 32", [1.0], ""),
    ],
)
def test_a_sentence_says_whether_the_aim_was_reached(aim: str, finals: list[float], said: str) -> None:
    assert book_results.verdict(aim, finals) == said


def test_results_of_one_world_are_drawn_on_the_same_axes_and_numbers_stand_on_the_right() -> None:
    results = [
        r for r in book_results.read((BOOK / "results" / "README.md").read_text()) if r.environment == "Pendulum-v1"
    ]
    drawn = [book_results.figure(result, results) for result in results]
    labels = [re.findall(r'<text class="small"[^>]*>([^<]*)</text>', figure) for figure in drawn]
    assert len(labels) > 1 and labels[0] == labels[1]
    at_the_end = dataclasses.replace(results[0], records=[r | {"evaluations": []} for r in results[0].records])
    assert book_results.figure(at_the_end, [at_the_end]) == "" and "earn" in book_results.section(at_the_end, results)
    table = "| result and environment | agent | steps | seeds |\n|---|---|---|---|\n| a | b | 1 | 2 |"
    assert book_results.aligned(table).splitlines()[1] == "|---|---|---:|---:|"
    assert book_results.ticks(-1600, 0) == [-1500, -1000, -500, 0] and book_results.ticks(0, 500)[1] == 100


def test_who_fell_has_stood_there_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_pages, "RESULTS", tmp_path)
    (tmp_path / "row").mkdir()
    courses = [300, 480, 500], [480, 470, 500], [480, 475, 474], [100, 200, 300], [500]
    for seed, course in enumerate(courses):
        record = {"evaluations": [[2_500 * (i + 1), mean] for i, mean in enumerate(course)]}
        (tmp_path / "row" / f"seed-{seed}.json").write_text(json.dumps(record))
    assert book_pages.fell_from("row", 475.0) == "2 of 5"


# --- The bug zoo ------------------------------------------------------------------------------------------------------


def test_the_page_of_the_zoo_has_what_every_mistake_says_of_itself(gathered: Path) -> None:
    assert {bug.name: bug for bug in book_zoo.bugs()} == {
        name: book_zoo.Bug(**{field: getattr(bug, field) for field in book_zoo.Bug.__dataclass_fields__})
        for name, bug in zoo.BUGS.items()
    }
    page = (gathered / "zoo.md").read_text()
    assert sorted(re.findall(r'<span id="(\w+)">', page)) == sorted(zoo.BUGS)
    summary = json.loads((BOOK / "results" / "mistakes" / "cartpole" / "summary.json").read_text())
    for name in ("kl_reversed", "lambda_swapped"):  # the second on fewer seeds than the finished code
        row = page.partition(f'<span id="{name}">')[2].partition("* - ")[0]
        seeds, sound = (summary["seeds"][one] for one in (name, "none"))
        for key in ("return", "error_15"):
            usual = [summary["bugs"]["none"][key]["seeds"][sound.index(seed)] for seed in seeds]
            both = summary["bugs"][name][key]["mean"], sum(usual) / len(usual)
            assert "{} ({})".format(*(f"{number:#.3g}".rstrip(".") for number in both)) in row
    assert set(summary["bugs"]) - {"none"} <= {name for name, said in book_zoo.measured().items() if said}


def test_every_mistake_that_was_measured_has_its_line_and_leads_to_the_zoo(gathered: Path) -> None:
    page = (gathered / "zoo_measured.md").read_text()
    measured = {path.name for path in (BOOK / "results" / "mistakes" / "cartpole").glob("*_*") if path.is_dir()}
    assert set(re.findall(r'^\| <a href="zoo.html#(\w+)">', page, re.M)) >= measured and len(measured) > 90
    of_worlds = re.findall(r"^## .* steps$", page, re.M)
    assert page.count(":class: measured") == len(of_worlds) > 0  # a table for each world, as wide as the page
    pictures = re.findall(r"!\[[^\]]+\]\((results/mistakes/[^)]+)\)", page)
    assert len(pictures) == 3
    for shown in pictures:
        assert "@media(prefers-color-scheme:dark)" in (gathered / shown).read_text()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("the guide; https://github.com/a/b/issues/7", "The guide; [a/b #7](https://github.com/a/b/issues/7)"),
        ("https://arxiv.org/abs/2408.15150 (x)", "[arXiv 2408.15150](https://arxiv.org/abs/2408.15150) (x)"),
        ("https://doi.org/10.1/a.b", "[doi 10.1/a.b](https://doi.org/10.1/a.b)"),
        ("https://a.org/b; c", "[a.org](https://a.org/b); c"),
    ],
)
def test_a_source_is_a_link_in_short(written: str, said: str) -> None:
    assert book_zoo.source(written) == said


def test_the_reference_shows_no_internals_and_an_example_in_one_piece(gathered: Path) -> None:
    mistakes = (gathered / "api" / "mistakes.md").read_text()
    assert "## `mistakes.part`" in mistakes and "`Mistake`" in mistakes and "kl_teaching_prior" not in mistakes
    example = '```python\nwith zoo.bug("reward_departing"):\n    train("CartPole-v1")\n```'
    assert example in (gathered / "api" / "zoo.md").read_text()


# --- The glossary -----------------------------------------------------------------------------------------------------


def test_the_glossary_is_a_compact_list_with_letters_and_ways_back(gathered: Path) -> None:
    page = (gathered / "glossary.md").read_text()
    terms = re.findall(r"^\((term-[\w-]+)\)=\n\*\*(.+)\*\*\n: \S", page, re.M)
    assert [name for _, name in terms] == re.findall(r"^### (.+)$", GLOSSARY, re.M)
    letters = re.findall(r'<a href="#(\w)">', page)
    assert letters == [letter.lower() for letter in re.findall(r"^## (\w)$", GLOSSARY, re.M)]
    entry = page.partition("(term-prior)=")[2].partition("(term-")[0]
    back = re.findall(r"\[\d\d\]\(notebooks/(\w+\.ipynb)\)", entry)
    assert back and all("#term-prior" in (gathered / "notebooks" / chapter).read_text() for chapter in back)


# --- Results beside those of others -----------------------------------------------------------------------------------


def test_our_rows_beside_those_of_others_are_the_committed_results(gathered: Path) -> None:
    page = (gathered / "compared.md").read_text()
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| **ours**")]
    measured = [folder for folder in book_pages.ON_CARTPOLE if (BOOK / "results" / folder / "summary.json").exists()]
    assert "cartpole-guide" in measured
    for folder, (_, _, steps, reached, told, _) in zip(measured, rows, strict=True):
        returns = [json.loads(p.read_text())["final_returns"] for p in (BOOK / "results" / folder).glob("seed-*.json")]
        means = [sum(seed) / len(seed) for seed in returns]
        shown = [float(number) for number in re.findall(r"\d+", reached)]
        assert shown[:3] == [round(sum(means) / len(means)), len(means), round(min(means))] and folder in told
        config = json.loads(next((BOOK / "results" / folder).glob("seed-*.json")).read_text())["config"]
        assert int(steps.replace(",", "")) == config["steps"]


def test_the_figure_of_the_mistakes_is_drawn_for_both_modes_and_is_of_the_committed_numbers(gathered: Path) -> None:
    page = (gathered / "results.md").read_text()
    (shown,) = re.findall(r"!\[[^\]]+\]\((results/mistakes/[^)]+)\)", page)
    summary = json.loads((BOOK / "results" / "mistakes" / "cartpole" / "summary.json").read_text())
    many = {name: row for name, row in summary["bugs"].items() if len(row["return"]["seeds"]) == 10}
    assert len(many) == 13
    drawn = figures.mistakes({**summary, "bugs": many})
    assert (gathered / shown).read_text() == figures.to_svg(drawn) + "\n"
    for name, row in many.items():
        said = f"{row['return']['mean']:#.3g}".rstrip(".")
        assert re.search(rf"^\| (`{name}`|the finished code) \|.* {said} \|$", page, re.M)


def test_the_front_page_counts_the_mistakes_of_the_zoo() -> None:
    assert book_pages.zoo_size() == str(len(zoo.BUGS))


# --- The next version ------------------------------------------------------------------------------------------------


def test_version_2_of_jupyter_book_is_given_the_same_pages_in_the_same_order(gathered: Path) -> None:
    contents, config = (yaml.safe_load((gathered / name).read_text()) for name in ("_toc.yml", "_config.yml"))
    made = book_two.project(contents, config, gathered)["project"]

    def files(entries: list[dict[str, Any]]) -> list[str]:
        return [
            name for e in entries for name in [*([e["file"]] if "file" in e else []), *files(e.get("children", []))]
        ]

    def listed(entries: list[dict[str, Any]]) -> list[str]:
        return [name for e in entries for name in [e["file"], *listed(e.get("sections", []))]]

    found = files(made["toc"])
    chapters_of = [entry for part in contents["parts"] for entry in part["chapters"]]
    assert [name.rpartition(".")[0] for name in found] == [contents["root"], *listed(chapters_of)]
    assert all((gathered / name).is_file() for name in [*found, *made["bibliography"]])
    assert made["title"] == config["title"]
    front = book_two.as_read_by_two((gathered / "index.md").read_text())
    assert "[Start with chapter 00](notebooks/00_start_here.ipynb)" in front and "::::{grid} 1 2 2 3\n\n" in front
    assert "button-ref" not in front and ":gutter:" not in front


# --- Films ------------------------------------------------------------------------------------------------------------


def test_films_in_the_dark_have_the_colours_of_the_figures() -> None:
    script = (BOOK / "_static" / "film.js").read_text().partition("const PAGE")[0]
    partners = dict(re.findall(r'"(#\w{6})": "(#\w{6})"', script))
    by_day = {color: dark for color, dark in (svg.SKY | style.DARK).items() if color != dark}
    assert partners == by_day
    assert list(partners)[:5] == list(style.DARK)[:5]  # those of lines; what follows is paper, ink, and skies


# --- What is mended after the build -----------------------------------------------------------------------------------

BUILT = (
    """<head><title>The KL &#8212; Course</title>
<script defer src="_static/scripts/fontawesome.js"></script>
<script defer="defer" src="_static/mathjax/tex-chtml.js"></script>
<script src="../_static/togglebutton.js?v=1"></script><script src="../_static/doctools.js"></script>
<script src="../_static/film.js"></script><script src="../_static/play.js"></script>
<script src="searchindex.js"></script></head><article class="bd-article"><p>Short.</p>
<p>A <em>divergence</em> &amp; what it costs to expect one thing where another one comes. """
    + "It goes on. " * 20
    + "</p>"
)


def test_rules_that_no_page_and_no_script_asks_for_are_left_out_of_a_style() -> None:
    page = '<p class="told big" id="top">x</p><script>box.classList.add("later")</script>'
    known = book_css.words([page], ["const kind = `modal-${name}`; show('is-open')"])
    style = """@charset "utf-8"; :root{--size:1px} p:hover{color:red} .told,.gone{color:blue} .gone .told{a:b}
        #top:not(.gone)>a{c:d} #nowhere{e:f} .later.is-open{g:h} :is(.gone,.big) a{i:j} :is(.gone,.lost){k:l}
        .bs-tooltip-auto[data-x^=top] i{m:n} @media print{.gone{o:p}.told{q:r}} @media screen{.gone{s:t}}
        @font-face{font-family:A} .told::after{content:".gone,"}"""
    slim = re.sub(r"\s+", " ", book_css.slim(style, known))
    for kept in (
        ":root{",
        "p:hover{",
        ".told{color:blue}",
        "#top:not(.gone)>a{",
        ".later.is-open{",
        ":is(.gone,.big) a{",
    ):
        assert kept in slim
    for kept in (
        ".bs-tooltip-auto[",
        "@media print{.told{q:r}}",
        "@font-face{",
        '.told::after{content:".gone,"}',
        "@charset",
    ):
        assert kept in slim
    assert not [rule for rule in ("{a:b}", "e:f", "k:l", "o:p", "s:t", "screen") if rule in slim]
    assert book_css.slim(slim, known) == slim


def test_a_page_loads_what_it_needs_and_says_what_it_is_about() -> None:
    plain = book_finish.mended(BUILT, "api/kl.html", None)
    assert "fontawesome" not in plain and "mathjax" not in plain and "searchindex" not in plain
    assert 'property="og:title" content="The KL"' in plain and 'content="../_static/cover.png"' in plain
    (description,) = re.findall('name="description" content="(A divergence &amp; what [^"]*) [.]{3}"', plain)
    assert len(description.replace("&amp;", "&")) <= book_finish.DESCRIPTION and "og:url" not in plain
    formula = book_finish.mended(BUILT + '<span class="math notranslate">x</span>', "kl.html", "https://a.org")
    assert "mathjax" in formula and 'property="og:url" content="https://a.org/kl.html"' in formula
    assert 'content="https://a.org/_static/cover.png"' in formula
    assert (
        '<script defer src="../_static/togglebutton.js?v=1">' in plain and '<script src="../_static/doctools' in plain
    )
    assert "film.js" not in plain and "play.js" not in plain
    assert f'as="font" type="font/woff2" crossorigin="anonymous" href="../_static/fonts/{book_finish.FONT}"' in plain
    assert (BOOK / "_static" / "fonts" / book_finish.FONT).exists()
    played = book_finish.mended(f'{BUILT}<iframe class="play"><img src="data:image/gif;base64,R0">', "a.html", None)
    assert '<script defer src="../_static/film.js">' in played and '<script src="../_static/play.js">' in played
    search = book_finish.mended(BUILT, "search.html", None)
    assert search.count("searchindex.js") == 1 and "_static/search.js" in search


def test_on_paper_links_lead_to_other_pages_and_what_is_folded_is_open(tmp_path: Path) -> None:
    (tmp_path / "notebooks").mkdir()
    page = '<head><script src="{}_static/x.js"></script></head><article class="bd-article">{}</article>'
    top = '<section id="top">\n<h1>Top &amp; <em>first</em><a class="headerlink" href="#top">#</a></h1>'
    (tmp_path / "index.html").write_text(page.format("", f'{top}<p id="b"></p><iframe src="play.html"></iframe>'))
    (tmp_path / "notebooks" / "a.html").write_text(
        page.format("../", '<details><a href="../index.html#b"></a><a href="b.html"></a><img src="../p.png"></details>')
    )
    first, second = book_pdf.documents(tmp_path, ["index.html", "notebooks/a.html"]).values()
    assert book_pdf.headings(first) == [("index--top", 1, "Top & first")] and "iframe" not in first
    assert 'id="index--b"' in first and '<a href="#index--b"></a>' in first  # Chromium writes down where that is
    assert 'href="course:index--b"' in second and "b.html" not in second  # that page is not there
    assert "<details open" in second and 'src="p.png"' in second and 'src="_static/x.js"' in second


def test_the_search_looks_through_prose_by_sections() -> None:
    page = """<nav>menu</nav><article class="bd-article"><section id="a">
    <h1>The <code>KL</code><a class="headerlink">#</a></h1><p>First<br>words.</p>
    <div class="toctree-wrapper"><p>list</p></div><section id="b"><h2>Cure</h2><p>Two</p>
    <div class="highlight"><pre>new_zeros</pre></div><p>three <span class="math">x</span>four.</p></section></section>
    </article><p>end</p>"""
    found = [(anchor, heading, prose.split()) for anchor, heading, prose in book_search.Sections(page).sections]
    assert found == [("a", "The KL", ["Firstwords."]), ("b", "Cure", ["Two", "three", "four."])]


# --- What is checked after the build ----------------------------------------------------------------------------------


def test_a_page_is_searched_for_dead_links_dead_anchors_and_pictures_without_words(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<p id="here">')
    (tmp_path / "p.png").write_bytes(b"")
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here"><a href="b.html#gone"><a href="c.html"><a href="https://example.org">'
        '<img src="p.png" alt="A picture"><img src="q.png" alt="Another"><img src="p.png">'
    )
    assert list(book_check.faults(tmp_path)) == [
        "a.html: the link b.html#gone leads to a page without that anchor",
        "a.html: the link c.html leads nowhere",
        "a.html: the picture q.png is not there",
        "a.html: the picture p.png has no alternative text",
    ]
    assert book_check.external(tmp_path) == {"https://example.org"}


def test_a_page_may_not_be_heavy(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(bytes(book_check.HEAVIEST))
    (tmp_path / "a.html").write_text('<img src="p.png" alt="A picture">')
    assert list(book_check.faults(tmp_path)) == ["a.html: 3.0 MB with its pictures, and not at most 3"]
