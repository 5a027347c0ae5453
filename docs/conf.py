"""Sphinx's settings. `make docs` builds the site into out/docs; it fetches nothing, and a warning is an error.

DOCS_RUN=0 builds it without running the blocks of Python and the gallery, which takes a minute instead of several; CI
does so, as its tests run each block and each example anyway.
"""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

# Most programs here run for a blink, so they get less of LLVM's effort, as in the tests.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")

import gallery  # noqa: E402

import ptilde  # noqa: E402

project = "ptilde"
author = "The ptilde developers"
version = release = ptilde.__version__
project_copyright = "The ptilde developers"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
    "api",
    "blocks",
    "mathml",
]
exclude_patterns = ["_made", "_ext", "gallery/*.py"]
run_code = os.environ.get("DOCS_RUN", "1") != "0"
default_role = "code"  # in the docstrings of examples

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "plot_",
    "plot_gallery": run_code,
    "parallel": 2,
    "abort_on_example_error": True,
    "image_scrapers": (gallery.scraper,),
    "reset_argv": gallery.Argument(),
    "reset_modules": (gallery.fresh,),
    "within_subsection_order": "FileNameSortKey",
    "notebook_extensions": (),
    "download_all_examples": False,
    "write_computation_times": False,
    "show_signature": False,
    "thumbnail_size": (480, 300),
}

myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3
suppress_warnings = [
    "config.cache"
]  # a function stands in the gallery's settings, so they are not kept from build to build

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
viewcode_line_numbers = True

html_theme = "furo"
html_title = f"ptilde {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
pygments_style = "friendly"
pygments_dark_style = "monokai"
