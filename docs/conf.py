"""Sphinx configuration: ``sphinx-build docs docs/_build`` after ``pip install ".[docs]"``."""

from pathlib import Path

project = "delta-nn"
author = "the delta-nn developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
html_theme = "pydata_sphinx_theme"
# Only the API reference has pages below it to list at the side; the others get the width.
html_sidebars = {page.stem: [] for page in Path(__file__).parent.glob("*.md")}
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# API pages are made from the docstrings; members stand on the page of their class.
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
