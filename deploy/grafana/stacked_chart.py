"""Draws areas stacked over time against a limit: the dashboard's main panel, without a browser."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

WIDTH_PX, HEIGHT_PX = 1200, 620
# Drawn larger and scaled down, since ImageDraw does not smooth edges.
_SCALE = 2
_LEFT, _TOP, _RIGHT, _BOTTOM = 88, 66, 400, 48
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH_PX - _LEFT - _RIGHT, HEIGHT_PX - _TOP - _BOTTOM

Colour = tuple[int, int, int]
Point = tuple[float, float]
Place = Callable[[float, float], Point]  # (seconds, bytes) -> px
UNATTRIBUTED: Colour = (190, 190, 190)
UNOWNED: Colour = (85, 85, 85)
LIMIT: Colour = (200, 30, 30)
_INK: Colour = (40, 40, 40)
_FAINT: Colour = (120, 120, 120)
_GRID: Colour = (222, 222, 222)
_HUES = (0.59, 0.08, 0.38, 0.80, 0.50, 0.94, 0.16, 0.70)


@dataclass(frozen=True)
class Area:
    """One layer; values: one for each time, in bytes. heading: begins a group of the legend."""

    label: str
    colour: Colour
    values: tuple[float, ...]
    heading: str = ""


def shade(group: int, part: int) -> Colour:
    """Groups differ by hue, their parts by lightness, from dark to light."""
    lightness = min(0.36 + 0.105 * part, 0.86)
    red, green, blue = colorsys.hls_to_rgb(_HUES[group % len(_HUES)], lightness, 0.62)
    return round(red * 255), round(green * 255), round(blue * 255)


def bytes_text(count: float) -> str:
    """Decimal units, three digits: 33.7 MB."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 999.5 and len(units) > 1:
        count /= 1000
        units.pop(0)
    unit = units[0]
    digits = 0 if unit == "B" or count >= 99.95 else 1 if count >= 9.995 else 2
    return f"{count:.{digits}f} {unit}"


class _Canvas:
    """Coordinates in px of the finished image; text by its baseline's left, middle or right."""

    def __init__(self) -> None:
        size = (WIDTH_PX * _SCALE, HEIGHT_PX * _SCALE)
        self._image = Image.new("RGB", size, "white")
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon([(x * _SCALE, y * _SCALE) for x, y in points], fill=colour)

    def line(self, start: Point, end: Point, colour: Colour, width_px: int) -> None:
        ends = [(start[0] * _SCALE, start[1] * _SCALE), (end[0] * _SCALE, end[1] * _SCALE)]
        self._draw.line(ends, fill=colour, width=width_px * _SCALE)

    def text(
        self, x: float, y: float, words: str, size_px: int, anchor: str, colour: Colour = _INK
    ) -> None:
        font = ImageFont.load_default(size_px * _SCALE)
        self._draw.text((x * _SCALE, y * _SCALE), words, fill=colour, font=font, anchor=anchor)

    def finished(self) -> Image.Image:
        return self._image.resize((WIDTH_PX, HEIGHT_PX), Image.Resampling.LANCZOS)


def draw(title: str, times: tuple[float, ...], areas: list[Area], limit: float) -> Image.Image:
    """`times`: at least two, in seconds, increasing; `areas` from the bottom up; `limit` in bytes.

    A limit far above everything is written at the top instead of flattening what is below it.
    """
    canvas = _Canvas()
    highest = max(sum(values) for values in zip(*(area.values for area in areas), strict=True))
    in_scale = limit <= 2.5 * highest
    top_value = max(limit, highest) * 1.08 if in_scale else highest * 1.25

    def place(time: float, value: float) -> Point:
        x = _LEFT + (time - times[0]) / (times[-1] - times[0]) * _PLOT_WIDTH
        return x, _TOP + (1 - value / top_value) * _PLOT_HEIGHT

    canvas.text(_LEFT, 30, title, 19, "ls")
    _grid(canvas, times, top_value, place)
    _stack(canvas, times, areas, place)
    if in_scale:
        _dashes(canvas, place(times[0], limit)[1])
        words = f"limit {bytes_text(limit)}"
    else:
        _dashes(canvas, _TOP)
        words = f"limit {bytes_text(limit)}, far above this scale"
    line_y = place(times[0], limit)[1] if in_scale else _TOP
    canvas.text(_LEFT + 6, line_y - 6, words, 13, "ls", LIMIT)
    _legend(canvas, areas)
    return canvas.finished()


def _nice_step(span: float, count: int) -> float:
    """1, 2 or 5 times a power of ten, about `count` of them in `span`."""
    power = 1.0
    while power * 10 <= span / count:
        power *= 10
    while power > span / count:
        power /= 10
    return next(step * power for step in (1, 2, 5, 10) if step * power >= span / count)


def _grid(canvas: _Canvas, times: tuple[float, ...], top_value: float, place: Place) -> None:
    step = _nice_step(top_value, 6)
    for index in range(int(top_value / step) + 1):
        x, y = place(times[0], index * step)
        canvas.line((x, y), (x + _PLOT_WIDTH, y), _GRID, 1)
        canvas.text(x - 8, y, bytes_text(index * step), 13, "rm")
    span = times[-1] - times[0]
    step = _nice_step(span, 6)
    for index in range(int(span / step) + 1):
        x, y = place(times[0] + index * step, 0)
        canvas.line((x, y), (x, y + 5), _INK, 1)
        canvas.text(x, y + 20, f"{index * step:g} s", 13, "ms")


def _stack(canvas: _Canvas, times: tuple[float, ...], areas: list[Area], place: Place) -> None:
    below = [0.0] * len(times)
    for area in areas:
        above = [base + value for base, value in zip(below, area.values, strict=True)]
        outline = [place(time, value) for time, value in zip(times, above, strict=True)]
        outline += [
            place(time, value) for time, value in zip(times[::-1], below[::-1], strict=True)
        ]
        canvas.polygon(outline, area.colour)
        below = above
    left, bottom = place(times[0], 0)
    canvas.line((left, bottom), (left + _PLOT_WIDTH, bottom), _INK, 1)


def _dashes(canvas: _Canvas, y: float) -> None:
    for x in range(_LEFT, _LEFT + _PLOT_WIDTH, 14):
        canvas.line((x, y), (min(x + 9, _LEFT + _PLOT_WIDTH), y), LIMIT, 3)


def _legend(canvas: _Canvas, areas: list[Area]) -> None:
    """In the order of the stack, the top first, with the last value; groups under a heading."""
    row_px = 17.0
    x, right = _LEFT + _PLOT_WIDTH + 24, WIDTH_PX - 16
    canvas.text(right, _TOP - 18, "at the right edge", 12, "rm", _FAINT)
    y = _TOP + 4.0
    groups: list[list[Area]] = []
    for area in areas:
        if area.heading or not groups or not area.label.startswith(" "):
            groups.append([])
        groups[-1].append(area)
    for group in reversed(groups):
        if group[0].heading:
            held = sum(area.values[-1] for area in group)
            canvas.text(x, y, group[0].heading, 13, "lm")
            canvas.text(right, y, bytes_text(held), 13, "rm")
            y += row_px
        for area in reversed(group):
            corner = [(x, y - 6), (x + 12, y - 6), (x + 12, y + 6), (x, y + 6)]
            canvas.polygon(corner, area.colour)
            canvas.text(x + 20, y, area.label.strip(), 12, "lm")
            canvas.text(right, y, bytes_text(area.values[-1]), 12, "rm")
            y += row_px
        y += 7
