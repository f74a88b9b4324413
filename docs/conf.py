"""Sphinx configuration: ``sphinx-build docs docs/_build`` after ``pip install ".[docs]"``."""

project = "delta-nn"
author = "the delta-nn developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
html_theme = "pydata_sphinx_theme"
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# API pages are made from the docstrings; members stand on the page of their class.
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
