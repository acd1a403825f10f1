"""Step into the dream of an agent: a page for the browser, in which reality and dream get the same actions.

    export("runs/first", "dream.html")     one HTML file with everything in it, no network needed
    page(agent), weights(agent)            the same as a string; and what the page reads, some kilobytes of safetensors

The page is plain JavaScript: `model.js` computes what the package computes, `worlds.js` has the worlds that can be
played, `player.js` keys, clock and canvas. A test holds `model.js` against PyTorch, row by row, with the same draws.
"""

from wm_tutorial.play.page import export, page, weights
from wm_tutorial.play.whole import PLAYABLE

__all__ = ["PLAYABLE", "export", "page", "weights"]
