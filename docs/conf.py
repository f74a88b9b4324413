"""Sphinx configuration: ``sphinx-build docs docs/_build`` after ``pip install ".[docs]"``.

No page takes anything from the network: MathJax comes into the site from a package. Tables of
options are those of the parser, and notebooks are executed, at their small sizes.
"""

import argparse
import html
import json
import os
from pathlib import Path

import jupytext
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

import dmft
from dmft._numerics.value_text import value_text
from dmft.cli.arguments import command_parser

HERE = Path(__file__).parent

project = "delta-nn"
author = "the delta-nn developers"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_design",
    "numpydoc",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = project
html_theme_options = {
    "header_links_before_dropdown": 9,
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": False,
    # Pages of commands are short, and what they show is wide.
    "secondary_sidebar_items": {"*": ["page-toc"], "api/*": ["page-toc"]},
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["sortable.js"]
html_show_sourcelink = False
# Where no section has pages to list at the side, the text gets the width.
html_sidebars = {page: [] for page in ("index", "install", "tutorial", "theory", "faq")}

# API pages are made from the docstrings; members stand on the page of their class.
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
toc_object_entries_show_parents = "hide"

# -- notebooks -------------------------------------------------------------------------------------

nb_execution_mode = "cache"  # anew where a notebook has changed, or the folder is gone
nb_execution_cache_path = str(HERE / "_build" / ".jupyter_cache")
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
os.environ["DELTA_NN_SMALL"] = "1"
os.environ.pop("MPLBACKEND", None)  # figures are for the page

_SMALL = """```{{note}}
Made at small sizes, in seconds: numbers and figures of this page are rough. Those of the full
sizes are in [Experiments](../experiments.md). The notebook is the script `notebooks/{name}`, which
Jupyter opens with jupytext.
```"""


def convert_notebooks() -> None:
    """Write the scripts of ``notebooks`` as notebooks in a folder of this one."""
    folder = HERE / "notebooks"
    folder.mkdir(exist_ok=True)
    for script in sorted((HERE.parent / "notebooks").glob("*.py")):
        notebook = jupytext.read(script)
        for number, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{number}"  # not a random one: the text decides what is built anew
        title, _, text = notebook.cells[0].source.partition("\n")
        notebook.cells[0].source = f"{title}\n\n{_SMALL.format(name=script.name)}\n{text}"
        page, written = folder / f"{script.stem}.ipynb", jupytext.writes(notebook, fmt="ipynb")
        if not page.exists() or page.read_text(encoding="utf-8") != written:
            page.write_text(written, encoding="utf-8")


convert_notebooks()

# -- options of commands ---------------------------------------------------------------------------


def option_rows(command: str) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Return the title of each group of options, and (option, its place in a run file, help)."""
    actions = command_parser()._actions
    (commands,) = (a for a in actions if isinstance(a, argparse._SubParsersAction))
    parser = commands.choices[command]
    parser._fill(parser)
    shown = parser._get_formatter()._format_action_invocation
    groups = []
    for group in parser._action_groups:
        rows = []
        for action in group._group_actions:
            table, dot, key = action.dest.partition(".")
            if not isinstance(action, argparse._HelpAction):
                rows.append((shown(action), f"[{table}] {key}" if dot else "", action.help or ""))
        if rows:
            title = "of this command" if group.title == "options" else group.title
            groups.append((title or "", rows))
    return groups


def _entry(content: nodes.Node) -> nodes.entry:
    return nodes.entry("", nodes.paragraph("", "", content))


class Options(Directive):
    """Directive ``options``: all options of a command, from its parser."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return one table, with a row for the title of each group."""
        body = nodes.tbody()
        for title, rows in option_rows(self.arguments[0]):
            heading = nodes.entry("", nodes.paragraph("", title), morecols=2, classes=["group"])
            body += nodes.row("", heading)
            for option, key, text in rows:
                cells = [
                    nodes.literal("", part) if part else nodes.Text("") for part in (option, key)
                ]
                cells.append(nodes.Text(text.replace("`", "")))
                body += nodes.row("", *map(_entry, cells))
        heads = map(_entry, map(nodes.Text, ("option", "in a run file", "meaning")))
        group = nodes.tgroup("", cols=3)
        group += [nodes.colspec(colwidth=width) for width in (35, 30, 35)]
        group += [nodes.thead("", nodes.row("", *heads)), body]
        return [nodes.table("", group, classes=["options"])]


# -- tables of scans -------------------------------------------------------------------------------


class Atlas(Directive):
    """Directive ``atlas``, or ``atlas late``: the table, which sorts in the browser."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a table with a row for each point."""
        scan = dmft.atlas(late=bool(self.arguments))
        keys = [key for key in scan.settings if key != "target.k"]
        heads = [key.rpartition(".")[2].replace("_", " ") for key in keys] + list(scan.quantities)
        rows = []
        for point in range(scan.n_points):
            cells = [f"<td>{_setting(scan.settings[key][point])}</td>" for key in keys]
            cells += [_value(scan, point, name) for name in scan.quantities]
            rows.append(f"<tr>{''.join(cells)}</tr>")
        head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
        text = (
            '<div class="sortable-frame"><table class="table sortable">'
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        )
        return [nodes.raw("", text, format="html")]


def _setting(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return html.escape(text.rpartition(":")[2])


def _value(scan: dmft.Scan, point: int, name: str) -> str:
    """Return the cell of a quantity: value and error, or the status with why."""
    place = scan.column(name)
    value, error = float(scan.value[point, place]), float(scan.error[point, place])
    status, detail = str(scan.statuses[point, place]), html.escape(scan.detail(point, name))
    if value == value:
        return f'<td data-value="{value!r}">{value_text(value, error)}</td>'
    return f'<td class="none" data-value="nan" title="{detail}">{status}</td>'


def _close_examples(app: Sphinx, page: str, source: list[str]) -> None:
    """Remove the empty line by which doctest knows the end of an example from the fence."""
    source[0] = source[0].replace("\n\n```\n", "\n```\n")


def _link_figures(app: Sphinx, page: nodes.document) -> None:
    """Give figures a width, upon which Sphinx links them to the full size."""
    for image in page.findall(nodes.image):
        if isinstance(image.parent, (nodes.section, nodes.paragraph)):
            image.setdefault("width", "100%")


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    # Titles listed at the side may hold formulas, also of a page that has none itself.
    app.set_html_assets_policy("always")
    app.add_directive("options", Options)
    app.add_directive("atlas", Atlas)
    app.connect("source-read", _close_examples)
    app.connect("doctree-read", _link_figures)
