"""Instruments for the chapters: small pages with sliders, in which a formula or a measurement is moved by hand.

    page("two_bells", {"free": 1.0})    one whole page: no other file, no network
    still("two_bells", {"free": 1.0})   the same at its opening, as a figure: where scripts are not run

Chapters show both by `notebook.instrument`. `maths.js` computes what the package computes, which a test holds number by
number; `kit.js` has sliders, plots and buttons; each instrument is one file more.
"""

from wm_tutorial.instruments.dreams import of_darts, of_dreams
from wm_tutorial.instruments.page import INSTRUMENTS, page
from wm_tutorial.instruments.stills import still

__all__ = ["INSTRUMENTS", "of_darts", "of_dreams", "page", "still"]
