"""What sphinx-gallery needs to know of the examples: where they leave their picture, and whose turn it is."""

import ast
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import jax
from sphinx_gallery.scrapers import figure_rst

PICTURE = Path(tempfile.mkdtemp()) / "picture.png"


class Argument:
    """Every example writes its picture to the path that is its argument."""

    def __repr__(self) -> str:
        """The same in every build."""
        return "Argument"

    def __call__(self, gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
        """sys.argv[1:] of one script."""
        return [str(PICTURE)]


def scraper(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Take the picture that a script has left."""
    if not PICTURE.exists():
        return ""
    path = next(block_vars["image_path_iterator"])
    shutil.move(PICTURE, path)
    text = ast.get_docstring(ast.parse(Path(block_vars["src_file"]).read_text(encoding="utf-8"))) or ""
    return figure_rst([path], gallery_conf["src_dir"], text.partition("\n")[0])  # the title is what is read out


def fresh(gallery_conf: dict[str, Any], name: str) -> None:
    """Nothing that one example compiled or silenced is left to the next."""
    jax.clear_caches()
    warnings.resetwarnings()
