"""Where figures are drawn: their look, a figure of their own or axes of the user, legends.

Functions that draw make their panels with `new_figure` and are decorated with `drawing`, which
gives them ``ax``, ``size`` and ``settings``. Colours are those of Okabe and Ito.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import rmt._matplotlib  # noqa: F401

# isort: split
import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

if TYPE_CHECKING:
    from matplotlib.path import Path
    from matplotlib.transforms import Bbox

__all__ = [
    "BLUE",
    "COLUMN",
    "GREEN",
    "GREY",
    "ORANGE",
    "PAGE",
    "PURPLE",
    "SKY",
    "STYLE",
    "VERMILLION",
    "Canvas",
    "broken",
    "covers_data",
    "drawing",
    "drawn",
    "is_own",
    "legend_below",
    "new_figure",
    "style",
]

BLUE: Final = "#0072B2"
VERMILLION: Final = "#D55E00"
GREEN: Final = "#009E73"
PURPLE: Final = "#CC79A7"
ORANGE: Final = "#E69F00"
SKY: Final = "#56B4E9"
GREY: Final = "#6E6E6E"

#: Look of all figures, as settings of matplotlib. To be changed in place: every figure drawn
#: afterwards has what it says then.
STYLE: Final[dict[Any, Any]] = {
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.0,
    "figure.titlesize": 9.0,
    "legend.fontsize": 9.0,
    "legend.title_fontsize": 9.0,
    "xtick.labelsize": 9.0,
    "ytick.labelsize": 9.0,
    "mathtext.fontset": "dejavusans",
    "axes.unicode_minus": True,
    "axes.linewidth": 0.7,
    "axes.titlepad": 4.0,
    "axes.labelpad": 3.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=[BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY]),
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.3,
    "legend.borderaxespad": 0.3,
    "savefig.dpi": 300,
    "figure.dpi": 144,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
}
# What does not show in a figure stays the user's.
_NOT_SEEN: Final = ("backend", "interactive", "toolbar", "timezone", "date.epoch")


@contextlib.contextmanager
def style(settings: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Context in which figures have the look of `STYLE`, whatever matplotlib's settings.

    Parameters
    ----------
    settings : mapping, optional
        Settings of matplotlib that come before those of `STYLE`.
    """
    defaults = matplotlib.rcParamsDefault
    seen: dict[Any, Any] = {name: defaults[name] for name in defaults if name not in _NOT_SEEN}
    with matplotlib.rc_context(seen | STYLE | dict(settings or {})):
        yield


class Canvas(FigureCanvasAgg):
    """Agg canvas that draws in the style of this project: ticks are not made until then."""

    settings: Mapping[str, Any] | None = None

    def draw(self) -> None:
        """Draw the figure."""
        with style(self.settings):
            super().draw()  # type: ignore[no-untyped-call]

    def print_figure(self, *arguments: Any, **settings: Any) -> Any:
        """Write the figure to a file or stream, as `matplotlib.figure.Figure.savefig` asks for."""
        with style(self.settings):
            return super().print_figure(*arguments, **settings)


# -- where ---------------------------------------------------------------------------------------

#: Widths in inches of a figure in one column of a page of two, and across both.
COLUMN: Final = 3.4
PAGE: Final = 7.0
_TALLEST = 0.4  # a legend taller than this part of its panel stands below it,
_LETTERS_PER_INCH = 12.5  # of a title, on average
_BELOW = 34.0  # so many points: ticks and the name of the axis

_Function = TypeVar("_Function", bound=Callable[..., Figure])


@dataclass
class _Place:
    """Where a function draws: what it was told, and the panels it made."""

    axes: list[Axes] | None = None
    size: str | tuple[float, float] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    panels: list[Axes] = field(default_factory=list)


_place: contextvars.ContextVar[_Place | None] = contextvars.ContextVar("place", default=None)


def drawing(function: _Function) -> _Function:
    """Give a function that draws the arguments ``ax``, ``size`` and ``settings``.

    ``ax``: axes of the user, one for each panel. ``size``: "column", "page", or width and height
    in inches. ``settings``: of matplotlib, before those of `rmt.plotting.STYLE`. Called by another
    function that draws, without these, it draws where that one does.
    """

    @functools.wraps(function)
    def plot(
        *arguments: Any,
        ax: Any = None,
        size: str | tuple[float, float] | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Figure:
        if ax is None and size is None and settings is None and _place.get() is not None:
            return function(*arguments, **options)
        place = _Place(_given_axes(ax), _checked_size(size), _checked_settings(settings or {}))
        return _draw(function, place, *arguments, **options)

    return cast("_Function", plot)


def drawn(
    function: Callable[..., Figure],
    *arguments: Any,
    ax: Any = None,
    size: str | tuple[float, float] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Any:
    """Call a function decorated with `drawing`; return its panels, alone or as an array."""
    place = _Place(_given_axes(ax), _checked_size(size), _checked_settings(settings or {}))
    _draw(function.__wrapped__, place, *arguments)  # type: ignore[attr-defined]
    panels = place.panels
    return panels[0] if len(panels) == 1 else np.array(panels, dtype=object)


def _draw(
    function: Callable[..., Figure], place: _Place, *arguments: Any, **options: Any
) -> Figure:
    token = _place.set(place)
    try:
        with style(place.settings):
            figure = function(*arguments, **options)
            # A legend that has gone below takes height from all panels, and others may cover then.
            grown: dict[int, float] = {}
            while any(_clear_legend(panel, grown) for panel in place.panels):
                pass
            for panel in place.panels:
                _break_label(panel)
    finally:
        _place.reset(token)
    return figure


def _given_axes(ax: Any) -> list[Axes] | None:
    if ax is None:
        return None
    found = list(np.ravel(np.asarray(ax, dtype=object)))
    for entry in found:
        if not isinstance(entry, Axes):
            raise ValueError(f"ax must be matplotlib axes, got {type(entry).__name__}")
    return found


def _checked_size(size: Any) -> str | tuple[float, float] | None:
    if size is None or size in ("column", "page"):
        return cast("str | None", size)
    try:
        width, height = (float(entry) for entry in size)
        fits = 0.5 <= width <= 100.0 and 0.5 <= height <= 100.0
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f"size must be 'column', 'page', or a width and a height in inches, got {size!r}"
        )
    return width, height


def _checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of matplotlib by their names, of which underscores may stand for dots."""
    by_name = {name.replace(".", "_"): name for name in matplotlib.rcParamsDefault}
    found: dict[Any, Any] = {}
    for key, value in settings.items():
        name = by_name.get(key.replace(".", "_"))
        if name is None:
            raise ValueError(
                "settings must be names of matplotlib's settings, such as font_size or "
                f"lines_linewidth, got {key!r}"
            )
        try:
            with matplotlib.rc_context({name: value}):
                found[name] = value
        except (ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{key} must be what matplotlib takes: {reason}") from None
    return found


# -- panels --------------------------------------------------------------------------------------


def new_figure(
    size: tuple[float, float],
    rows: int = 1,
    columns: int = 1,
    widths: tuple[float, ...] | None = None,
    heights: tuple[float, ...] | None = None,
    used: Sequence[int] | None = None,
) -> tuple[Figure, list[Axes]]:
    """Make a figure of a size in inches on its own canvas; return it and its panels row by row.

    Of all panels, or of those places of the grid that are `used`: others stay empty. In a function
    decorated with `drawing` the axes may be the user's, or the size be another. Call it, and all
    drawing, under `style`.
    """
    place = _place.get() or _Place()
    places = list(range(rows * columns) if used is None else used)
    if place.axes is not None:
        count = len(places)
        if len(place.axes) != count:
            raise ValueError(f"ax must be {count} axes, one for each panel, got {len(place.axes)}")
        place.panels = place.axes
        figure = place.axes[0].get_figure(root=True)
        assert figure is not None
        return figure, list(place.axes)
    width, height = size
    if isinstance(place.size, tuple):
        width, height = place.size
    elif place.size is not None:
        wanted = COLUMN if place.size == "column" else PAGE
        height *= max(wanted / width, 0.8) if wanted < width else (wanted / width) ** 0.5
        if wanted < 0.75 * width and rows == 1 and columns > 1:  # side by side is too narrow
            height *= 0.9 * columns
            rows, columns, widths = columns, 1, None
        width = wanted
    figure = Figure(figsize=(width, height), layout="constrained")
    Canvas(figure).settings = place.settings
    panels = figure.subplots(
        rows, columns, squeeze=False, width_ratios=widths, height_ratios=heights
    )
    for index, panel in enumerate(panels.ravel()):
        if index not in places:
            panel.remove()
    place.panels = [panels.ravel()[index] for index in places]
    return figure, list(place.panels)


def is_own(figure: Figure) -> bool:
    """Return whether a figure was made here, so that titles and layout are not the user's."""
    return isinstance(figure.canvas, Canvas) and (_place.get() or _Place()).axes is None


def _break_label(panel: Axes) -> None:
    """Break the name of a vertical axis that is longer than its panel, at a space by its middle."""
    text, figure = panel.yaxis.label.get_text(), panel.get_figure(root=True)
    # Of a formula, spaces are no places to break it.
    spaces = [at for at, c in enumerate(text) if c == " " and text[:at].count("$") % 2 == 0]
    if "\n" in text or not spaces or figure is None:
        return
    figure.draw_without_rendering()
    if panel.yaxis.label.get_window_extent().height > panel.bbox.height:
        at = min(spaces, key=lambda place: abs(place - len(text) / 2))
        panel.yaxis.label.set_text(f"{text[:at].rstrip()}\n{text[at:].lstrip()}")


def broken(text: str, figure: Figure) -> str:
    """Return a title in lines no wider than the figure, broken after commas."""
    most = int(_LETTERS_PER_INCH * figure.get_figwidth())
    lines = []
    for line in text.split("\n"):
        start = ""
        for part in line.split(", "):
            joined = f"{start}, {part}" if start else part
            if start and len(joined) > most:
                lines.append(f"{start},")
                joined = part.lstrip()
            start = joined
        lines.append(start)
    return "\n".join(lines)


# -- legends -------------------------------------------------------------------------------------


def legend_below(
    figure: Figure, panel: Axes, handles: Sequence[Any], labels: Sequence[str], ncols: int
) -> None:
    """Put a legend below all panels, in as many columns as fit; within one of the user's."""
    if not is_own(figure):
        panel.legend(handles, labels, loc="best")
        return
    width = figure.bbox.width
    for count in range(ncols, 0, -1):
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=count)
        if count == 1 or legend.get_window_extent().width <= width:
            return
        legend.remove()


def _clear_legend(panel: Axes, grown: dict[int, float]) -> bool:
    """Make room above the data for a legend that would cover some of it, or put it below.

    A figure of no stated height grows by what legends take below each row: `grown`, in pixels.

    Returns
    -------
    bool
        Whether it has gone below.
    """
    legend = panel.get_legend()
    if legend is None or legend.get_bbox_to_anchor().bounds != panel.bbox.bounds:
        return False  # it stands beside the panel
    figure = panel.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    box = legend.get_window_extent()
    if not _covers(panel, box):
        return False
    part = (box.height + 4.0) / panel.bbox.height
    if part > _TALLEST:
        down = ScaledTranslation(0.0, -_BELOW / 72.0, figure.dpi_scale_trans)
        legend.set_loc("upper center")
        legend.set_bbox_to_anchor((0.5, 0.0), transform=panel.transAxes + down)
        place = _place.get() or _Place()
        if is_own(figure) and not isinstance(place.size, tuple):
            spec = panel.get_subplotspec()
            row = 0 if spec is None else int(spec.rowspan.stop)
            more = max(box.height - grown.get(row, 0.0), 0.0)
            grown[row] = grown.get(row, 0.0) + more
            figure.set_figheight(figure.get_figheight() + more / figure.dpi)
        return True
    scale = panel.yaxis.get_transform()
    low, high = scale.transform(panel.get_ylim())
    panel.set_ylim(top=float(scale.inverted().transform(high + (high - low) * part / (1.0 - part))))
    left = box.x0 + box.x1 < panel.bbox.x0 + panel.bbox.x1
    legend.set_loc("upper left" if left else "upper right")
    return False


def covers_data(panel: Axes, inset: Axes) -> bool:
    """Return whether an inset, with its ticks and title, hides anything of its panel."""
    figure = panel.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    box = inset.get_tightbbox()
    return box is not None and _covers(panel, box, besides=inset)


def _covers(panel: Axes, box: Bbox, besides: Axes | None = None) -> bool:
    """Return whether a box hides any line, mark, band, bar or text of a panel."""
    for line in panel.lines:
        _, up = line.get_transform().contains_branch_seperately(panel.transData)
        if not up or not line.get_visible():
            continue  # marks at the foot of a panel, and guides from foot to top
        path = line.get_path()
        if line.get_linestyle() == "None":
            points = line.get_transform().transform(path.vertices)
            if box.count_contains(points):
                return True
        elif _crosses(line.get_transform().transform_path(path), box, filled=False):
            return True
    for collection in panel.collections:
        if _is_hidden(collection, panel, box):
            return True
    bars = (patch.get_window_extent() for patch in panel.patches)
    notes = (text.get_window_extent() for text in panel.texts if text.get_text())
    insets = (inset.get_tightbbox() for inset in panel.child_axes if inset is not besides)
    return any(other is not None and box.overlaps(other) for other in (*bars, *notes, *insets))


def _is_hidden(collection: Collection, panel: Axes, box: Bbox) -> bool:
    transform = collection.get_transform()
    if not transform.contains_branch(panel.transData):
        return False
    filled = collection.get_facecolor()
    paths = (transform.transform_path(path) for path in collection.get_paths())
    return any(_crosses(path, box, filled=bool(len(filled))) for path in paths)


def _crosses(path: Path, box: Bbox, *, filled: bool) -> bool:
    known = path.cleaned(remove_nans=True)
    return bool(np.size(known.vertices) and known.intersects_bbox(box, filled))
