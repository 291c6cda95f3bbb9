"""How Sphinx makes the site: pages and notebooks are read where they stand in the repository, the rest is here."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT), str(ROOT / "tests")]

project = "Gears"
root_doc = "README"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "contents",
    "folding",
    "mathml",
    "docstrings",
    "which",
    "players",
    "house",
]
include_patterns = ["README.md", "CONTRIBUTING.md", "docs/**.md", "docs/**.rst", "notebooks/*", "examples/**.md"]
exclude_patterns = [".*", "build", "docs/site/contents.md", "**.py", "**.png"]

nb_execution_mode = "off"
nb_number_source_lines = False
nb_merge_streams = True  # a cell that prints in pieces has printed one text
nb_render_markdown_format = "gfm"  # tables in what cells show
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
highlight_language = "none"  # a block that names no language is what a program printed

toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"
autodoc_typehints = "none"

html_theme = "furo"
html_title = "Gears"
html_static_path = ["static", "../../build/site-data"]
html_css_files = ["site.css"]
html_extra_path = ["index.html"]
html_copy_source = False
html_show_search_summary = False  # it is fetched, which a browser does not do for files
html_show_sphinx = html_show_copyright = False
