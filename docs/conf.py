"""Sphinx: furo, MyST, and reference pages made from the code by ``generated.py``.

Nothing is fetched: no inventories of other projects, no fonts or scripts from elsewhere.
"""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "frostline"
author = "frostline contributors"
project_copyright = author
release = version = metadata.version("frostline")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["_build"]
smartquotes_action = "D"  # dashes; quotes stay as they are typed

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"frostline {release}"
html_copy_source = False
html_show_sourcelink = False
