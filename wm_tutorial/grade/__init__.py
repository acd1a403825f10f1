"""Grading what a class hands in: points, what each student got wrong, and what the class misunderstood.

from wm_tutorial.grade.run import grade
grade(Path("submitted"), out=Path("graded"))

`collect` finds the notebooks, `exercises` knows the course, `extract` takes out of a notebook what an exercise needs,
`honesty` says what does not count. `judge` asks its function what the check asks, and what nobody has seen (`hidden`);
`report` writes it down, `settings` says what it is worth, `run` keeps what is graded already.

The function itself lives in another process: `remote` is how the grader calls it, `wire` how they talk, `answer` the
other end, `stable` the warm process that it is forked from, `sandbox` and `calls` the walls around it.
"""
