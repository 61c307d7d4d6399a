"""Configuration of the documentation site, built by `make docs`.

Sphinx with MyST-Parser and the theme Furo. MkDocs and Material for MkDocs are no longer maintained; Sphinx is.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import zoo

project = "resnet-zoo"
author = "the resnet-zoo authors"
project_copyright = "the resnet-zoo authors, Apache-2.0"
version = release = zoo.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "zoo_commands", "zoo_docstrings"]
exclude_patterns = ["_build", "_ext", "examples"]

html_theme = "furo"
html_title = f"resnet-zoo {release}"
html_static_path = ["_static"]
html_copy_source = False

# Markdown: every link to a page, a heading or a file is checked; a dead one is a warning, and warnings are errors
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]

# Docstrings follow the Google convention and mark code with single backticks
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autoclass_content = "both"

# Types of other libraries have no target: the build must work without a network, so there is no intersphinx
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(torch|numpy|np|PIL|rich|collections|datetime|os|pathlib|typing|types)\..*"),
    (r"py:.*", r"Any|NDArray|PILImage|Path|Tensor|Status|(tuple|Mapping|Literal)\[.*"),
    (r"py:.*", r"zoo\.registry\.[A-Z]|.*\b(Precision|Scheduling|Supply|Measurement|Adapters)"),  # type variables, aliases and private types
]
