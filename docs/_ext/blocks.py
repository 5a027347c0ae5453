"""The Python of a page runs when the site is built, and what it prints and draws stands below it.

The blocks of a page share one namespace, in order. A block that leaves a Matplotlib figure under the name `figure`
shows it; the figure's label (`figure.set_label`) is what is read out to those who cannot see it. Other languages are
text.
`tests/test_docs.py` runs pages by the same function, and looks at what the names stand for at their end.
"""

import ast
import io
import re
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jax

FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CLOSED = re.compile(r"\s*</details>")  # what a folded block leaves stands behind the fold
MADE = "_made"


class Output(NamedTuple):
    """What a block left: where it ends in the page, what it printed, its picture."""

    end: int
    printed: str
    figure: Any


def outputs(text: str, name: str, namespace: dict[str, Any]) -> Iterator[Output]:
    """Run the blocks of a page in a namespace; a traceback names the page and its line."""
    namespace["__name__"] = "__main__"
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        tree = ast.increment_lineno(ast.parse(match[1], name), line)
        namespace.pop("figure", None)
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile(tree, name, "exec"), namespace)
        yield Output(match.end(), printed.getvalue().rstrip(), namespace.get("figure"))


def shown(output: Output, picture: Path) -> str:
    """Markdown of what a block left."""
    text = f"\n\n```{{code-block}} text\n:class: output\n\n{output.printed}\n```" if output.printed else ""
    if output.figure is not None:
        picture.parent.mkdir(exist_ok=True)
        output.figure.savefig(picture, dpi=150)
        text += f"\n\n![{output.figure.get_label()}](/{MADE}/{picture.name})"
    return text


def run_page(app: Any, docname: str, source: list[str]) -> None:
    """Put the output of each block behind it."""
    text, made = source[0], []
    if not app.config.run_code or not FENCE.search(text):
        return
    with TemporaryDirectory() as folder, chdir(folder):  # pages write files by their bare names
        for i, output in enumerate(outputs(text, f"{docname}.md", {})):
            closed = CLOSED.match(text, output.end)
            picture = Path(app.srcdir, MADE, f"{docname.replace('/', '-')}-{i}.png")
            made.append((closed.end() if closed else output.end, shown(output, picture)))
    jax.clear_caches()  # compiled programs hold memory maps, of which a process may have 65,530
    for end, below in reversed(made):
        text = text[:end] + below + text[end:]
    source[0] = text


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_config_value("run_code", True, "env")
    app.connect("source-read", run_page)
    return {"parallel_read_safe": False}
