"""A figure as one SVG that follows the page: sharp at any size, light on a light page and dark on a dark one.

The file holds the figure once, and a stylesheet with both colours of everything in it. Which of them is shown, the
browser decides by `prefers-color-scheme`, for an SVG in an <img>: by the `color-scheme` of the page it stands in.

On a dark page words and lines are bright and areas are deep, so that words can be read on both. Images, whatever is
coloured by a colormap, and what is written on these stay as they are.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from typing import Literal, TypeAlias
from xml.etree import ElementTree

import numpy as np
from matplotlib.artist import Artist
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from wm_tutorial.figures.sketches import EYES_CLOSED, EYES_OPEN, REALITY, SHADOW
from wm_tutorial.figures.style import DARK, INK, PAPER, READABLE, SEEN, apart, contrast, house_style

Role: TypeAlias = Literal["word", "line", "area", "kept"]

DENSE = 5_000  # markers; more of them are drawn as pixels, or the file would be heavy
PIXELS_DPI = 200  # of what is drawn as pixels: twice what a page shows
LONG = 100  # points of a line that is written down in steps
LARGE = 16.0  # points: a marker or an arrow head is a line below, and an area above
VEIL = 0.5  # opacity below which an area is so faint that it must be bright to be seen
LINES_SEEN = 3.0  # WCAG 2.2, success criterion 1.4.11: lines against what is behind them

ON_PICTURE = "on_picture_"
MOVING = "moving_"  # artists with such a name keep it, for a stylesheet that moves them (`episode.py`)
SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"
COLOR = re.compile(r"(fill|stroke): (#[0-9a-f]{6})")
OPACITY = re.compile(r"(?:^|; )(?:fill-)?opacity: ([\d.]+)")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
URL = re.compile(r"url\(#([^)]+)\)")

# Drawings (`sketches.py`) have a sky of their own: the night is as dark as it is, the day becomes an evening.
SKY = {REALITY.sky: "#17212C", EYES_OPEN.sky: "#2A2018", REALITY.faint: "#5F6B79"}
SKY |= {color: color for light in (EYES_CLOSED, SHADOW) for color in (light.sky, light.solid, light.faint)}
SKY |= {color: color for color in (EYES_CLOSED.accent, "#F5EFD6", "#8F9AC9")}


def to_svg(figure: Figure) -> str:
    """The figure as an SVG document that is light or dark as the page is; the same figure is the same text."""
    drawn = BytesIO()
    with house_style():
        _draw_as_pixels(figure)
        figure.draw_without_rendering()  # now everything has a place
        _keep_what_lies_on_pictures(figure)
        _draw_whole_markers(figure)
        figure.savefig(
            drawn, format="svg", dpi=PIXELS_DPI, metadata=dict.fromkeys(["Date", "Creator", "Format", "Type"])
        )
    root = ElementTree.fromstring(drawn.getvalue())
    _move_styles_to_classes(root)
    _compact(root)
    ElementTree.register_namespace("", SVG[1:-1])
    return ElementTree.tostring(root, encoding="unicode")


def shade(color: str, role: Role, dark: bool, opacity: float = 1.0) -> str:
    """What a colour "#RRGGBB" of a figure becomes, by what is drawn in it and on which page.

    Colours of the house have the partner of `DARK`, those of drawings that of `SKY`; of any other, black and white are
    exchanged, and what is too dark to be seen is made brighter. Words are made as strong as reading needs.
    """
    color = color.upper()
    if role == "kept" or SKY.get(color) == color:
        return color
    if role == "word" and contrast(color, PAPER) < 1.3:
        return PAPER  # on something dark, in both modes
    if not dark:
        return apart(color, SEEN) if role == "word" else color
    known = (DARK | SKY).get(color) or _other(color)
    if role == "word":
        return apart(known, DARK[SEEN])
    if role == "area" and not _is_grey(color) and opacity >= VEIL and color not in SKY:
        return apart(known, PAPER, READABLE + 0.9)  # deep enough for INK's partner, too
    return known


def _other(color: str) -> str:
    """The partner of a colour that nobody has chosen one for."""
    if not _is_grey(color):
        return apart(color, DARK[PAPER], LINES_SEEN)
    white, page, ink = to_rgb(color)[1], to_rgb(DARK[PAPER]), to_rgb(DARK[INK])
    red, green, blue = (white * p + (1 - white) * i for p, i in zip(page, ink, strict=True))
    return to_hex((red, green, blue)).upper()


def _is_grey(color: str) -> bool:
    return max(to_rgb(color)) - min(to_rgb(color)) < 0.12


# --- Colours ----------------------------------------------------------------------------------------------------------


def _move_styles_to_classes(root: ElementTree.Element) -> None:
    """Replace the styles in the file by classes, and put a stylesheet with both colours of each in front."""
    shapes = {element.attrib["id"]: element.get("d", "") for element in root.iter() if "id" in element.attrib}
    classes: dict[tuple[str, Role], str] = {}

    def visit(element: ElementTree.Element, in_words: bool, kept: bool) -> None:
        group = element.get("id", "")
        if group.startswith(ON_PICTURE):
            kept = True
            element.set("fill", "#000000")
        in_words = group.startswith("text_") or (in_words and not group.startswith("patch_"))  # a frame around words
        style = element.attrib.pop("style", "")
        if element.get("fill", "").startswith("#"):  # of a hatched area, or what lies on a picture
            style = f"fill: {element.attrib.pop('fill')}"
        if style:
            role: Role = "kept" if kept else "word" if in_words else _role(element, style, shapes)
            element.set("class", classes.setdefault((style, role), f"c{len(classes)}"))
        for child in element:
            visit(child, in_words, kept)

    visit(root, False, False)
    light, dark = [], [f"svg{{fill:{DARK[INK]}}}"]  # black is not written down by matplotlib
    for (style, role), name in classes.items():
        light.append(f".{name}{{{_in_mode(style, role, dark=False)}}}")
        colors = re.findall(r"(?:fill|stroke):#\w+", _in_mode(style, role, dark=True))
        dark += [f".{name}{{{';'.join(colors)}}}"] if colors else []
    sheet = ElementTree.Element(f"{SVG}style")
    sheet.text = f"{''.join(light)}@media(prefers-color-scheme:dark){{{''.join(dark)}}}"
    root.insert(0, sheet)


def _role(element: ElementTree.Element, style: str, shapes: dict[str, str]) -> Role:
    """Whether the inside of a shape is an area, or small and part of a line: a marker, or the head of an arrow."""
    colors = dict(COLOR.findall(style))
    if "fill" not in colors:
        return "line"
    shape = element.get("d") or shapes.get(element.get(HREF, "")[1:], "")
    numbers = [float(number) for number in NUMBER.findall(shape)]
    extent = max((max(axis) - min(axis) for axis in (numbers[::2], numbers[1::2]) if axis), default=0.0)
    part_of_line = element.tag == f"{SVG}use" or colors["fill"] == colors.get("stroke")
    return "line" if part_of_line and extent < LARGE else "area"


def _in_mode(style: str, role: Role, dark: bool) -> str:
    """A style of the file as it is on a light or a dark page; borders are lines."""
    opacity = OPACITY.search(style)
    seen = float(opacity[1]) if opacity else 1.0

    def changed(found: re.Match[str]) -> str:
        part = "line" if found[1] == "stroke" and role == "area" else role
        return f"{found[1]}:{shade(found[2], part, dark, seen)}"

    return COLOR.sub(changed, style).replace(": ", ":").replace("; ", ";")


# --- What is in the file ----------------------------------------------------------------------------------------------


def _draw_as_pixels(figure: Figure) -> None:
    """What is coloured by a colormap stays as it is, and thousands of markers are lighter as an image."""
    for artist in figure.findobj(lambda artist: isinstance(artist, ScalarMappable | Line2D)):
        mapped = isinstance(artist, ScalarMappable) and artist.get_array() is not None
        if (mapped or _markers(artist) > DENSE) and not isinstance(artist, AxesImage):
            artist.set_rasterized(True)


def _keep_what_lies_on_pictures(figure: Figure) -> None:
    """Lines and words wholly within an image must stand out from it, and not from the page: name their groups."""
    for number, axes in enumerate(figure.axes):
        mapped = [mesh for mesh in axes.collections if isinstance(mesh, QuadMesh)]
        places = [picture.get_window_extent().padded(2.0) for picture in (*axes.images, *mapped)]
        for index, artist in enumerate((*axes.texts, *axes.lines)):
            box = artist.get_window_extent()
            if any(place.contains(*box.min) and place.contains(*box.max) for place in places):
                artist.set_gid(f"{ON_PICTURE}{number}_{index}")


def _draw_whole_markers(figure: Figure) -> None:
    """A marker on the edge of its panel is not cut in half."""
    for axes in figure.axes:
        for line in axes.lines:
            places = line.get_transform().transform(line.get_xydata())
            inside = axes.bbox.padded(0.5)
            if _markers(line) and all(inside.contains(*place) for place in places[np.isfinite(places).all(axis=1)]):
                line.set_clip_on(False)


def _markers(artist: Artist) -> int:
    """How many markers an artist draws."""
    if isinstance(artist, PathCollection):
        return len(np.asarray(artist.get_offsets()))
    if isinstance(artist, Line2D) and artist.get_marker() not in ("None", "none", None, "", " "):
        return len(np.asarray(artist.get_xydata()))
    return 0


def _compact(root: ElementTree.Element) -> None:
    """Leave out what nothing refers to, say once what many share, shorten names and numbers."""
    for parent in root.iter():
        _join(parent)
    for parent in root.iter():
        for child in [child for child in parent if child.tag.endswith("metadata")]:
            parent.remove(child)
    names = {name for element in root.iter() for name in _references(element)}
    short = {name: f"i{number}" for number, name in enumerate(sorted(names))}
    short |= {name: name for element in root.iter() if (name := element.get("id", "")).startswith(MOVING)}
    for element in root.iter():
        element.tail = None
        element.text = _renamed(element.text, short) if element.text and element.text.strip() else None
        glyph = element.attrib.get("transform") == "scale(0.015625)"  # in 64ths of what follows
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            if key == HREF:
                element.set("href", f"#{short[value[1:]]}" if value.startswith("#") else value)
            elif key in ("d", "x", "y"):
                long = value.count("L") > LONG
                element.set(key, _in_steps(value) if long else _rounded(value, 0 if glyph else 2))
            elif key != "id" or value in short:
                element.set(key, short[value] if key == "id" else _renamed(value, short))


def _join(parent: ElementTree.Element) -> None:
    """Markers stand in groups of their own, each with its style: one group holds them, and has the style."""
    last: ElementTree.Element | None = None
    for child in list(parent):
        plain = child.tag == f"{SVG}g" and set(child.attrib) <= {"clip-path"} and _holds_markers(child)
        if plain and last is not None and last.attrib == child.attrib:
            last.extend(child)
            parent.remove(child)
        else:
            last = child if plain else None
    styles = {child.get("class") for child in parent}
    if _holds_markers(parent) and len(styles) == 1 and None not in styles and "class" not in parent.attrib:
        parent.set("class", styles.pop() or "")
        for child in parent:
            del child.attrib["class"]


def _holds_markers(group: ElementTree.Element) -> bool:
    return len(group) > 0 and all(child.tag == f"{SVG}use" for child in group)


def _references(element: ElementTree.Element) -> Iterator[str]:
    """The names that an element refers to."""
    if element.get(HREF, "").startswith("#"):
        yield element.attrib[HREF][1:]
    for text in (element.text or "", *element.attrib.values()):
        yield from URL.findall(text)


def _renamed(text: str, names: dict[str, str]) -> str:
    return URL.sub(lambda found: f"url(#{names[found[1]]})", text)


def _in_steps(path: str) -> str:
    """A long line as steps from point to point, in tenths of a point; steps that cannot be seen are left out."""
    written, here = "", (0, 0)
    for command, x, y in re.findall(r"([MLz])(?: (\S+) (\S+))?", path.replace("\n", " ")):
        if command == "z":
            written += "z"
            continue
        there = round(10 * float(x)), round(10 * float(y))
        if command == "M":
            written += f"M{there[0] / 10:g} {there[1] / 10:g}"
        elif there != here:
            written += f"l{(there[0] - here[0]) / 10:g} {(there[1] - here[1]) / 10:g}"
        here = there
    return written.replace(" -", "-")


def _rounded(text: str, digits: int) -> str:
    return " ".join(NUMBER.sub(lambda number: f"{round(float(number[0]), digits):g}", text).split())
