"""Sphinx configuration: ``sphinx-build docs docs/_build`` after ``pip install ".[docs]"``."""

project = "delta-nn"
author = "the delta-nn developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
html_theme = "pydata_sphinx_theme"
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["_build"]
