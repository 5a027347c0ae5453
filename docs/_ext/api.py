r"""The API pages: autodoc of listed names, and docstrings, which are Markdown, as reStructuredText.

    ```{api} ptilde.losses
    Hyvarinen
    Sliced
    ```

stands for the signatures and docstrings of these names with their public methods (a star: of all names that the module
says are public), and

    ```{mathematics} ptilde.losses.implicit
    ```

for the docstring of a module.
"""

import ast
import importlib
import inspect
import re
import textwrap
from typing import Any

API = re.compile(r"^```\{api\} (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MATHEMATICS = re.compile(r"^```\{mathematics\} (\S+)\n```$", re.MULTILINE)
INLINE = re.compile(r"`([^`]+)`|\$\$(.+?)\$\$|\$([^$]+)\$|(?<=\w)_(?=[\s,.;)\]]|$)", re.DOTALL)
REFERENCES = re.compile(r"^( *)References:\n((?:\1 +.*(?:\n|$)|\n)+)", re.MULTILINE)
BEFORE, AFTER = " \n\t([{<-/'\":—–", " \n\t.,;:!?)]}>-/'\"—–"  # what may stand beside inline markup


def names(text: str) -> dict[str, list[str]]:
    """The names that a page documents, by their module."""
    found: dict[str, list[str]] = {}
    for module, body in API.findall(text):
        found.setdefault(module, []).extend(expanded(module, body))
    return found


def expanded(module: str, body: str) -> list[str]:
    """The names of a block; a star is all that the module says is public."""
    return importlib.import_module(module).__all__ if body.strip() == "*" else body.split()


def members(thing: type) -> list[str]:
    """Documented public methods and properties that are this package's own, `__call__` among them."""
    kinds = (property, classmethod, staticmethod)
    order: dict[str, Any] = {}  # what scikit-learn sets on a class, such as `set_fit_request`, is left out
    for base in reversed(thing.__mro__):
        if base.__module__.startswith("ptilde."):
            own = vars(base).items()
            routines = {k: v for k, v in own if inspect.isroutine(v) or isinstance(v, kinds)}
            order |= {k: v for k, v in routines.items() if not type(v).__module__.startswith("sklearn")}
    return [name for name in order if (name == "__call__" or name[0] != "_") and getattr(thing, name).__doc__]


def directive(module: str, name: str) -> str:
    """The one of autodoc that fits a name."""
    thing = getattr(importlib.import_module(module), name)
    if inspect.isclass(thing):
        listed = members(thing)
        kind = "exception" if issubclass(thing, Exception) else "class"
        options = f"   :members: {', '.join(listed)}\n" if listed else ""
        options += "   :special-members: __call__\n" if "__call__" in listed else ""
        return f".. auto{kind}:: {module}.{name}\n{options}"
    if callable(thing):
        return f".. autofunction:: {module}.{name}\n"
    return f".. autodata:: {module}.{name}\n   :no-value:\n"


def listed(match: re.Match) -> str:
    """Autodoc for a list of names."""
    module, body = match.groups()
    return "```{eval-rst}\n" + "\n".join(directive(module, name) for name in expanded(module, body)) + "```"


def bullets(found: re.Match) -> str:
    """A list of references, of which each begins with authors and year."""
    indent, body = found.groups()
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    marked = [("* " if re.match(r"[^()]*\(\d{4}[a-z]?\)", line) else "  ") + line for line in lines]
    return f"{indent}References:\n" + "\n".join(f"{indent}    {line}" for line in marked) + "\n\n"


def mathematics(match: re.Match) -> str:
    """The docstring of a module as Markdown."""
    text = inspect.getdoc(importlib.import_module(match[1])) or ""
    return REFERENCES.sub(
        lambda found: re.sub(r"^ {4}", "", bullets(found).replace(":", ":\n", 1), flags=re.MULTILINE), text
    )


def expand(app: Any, docname: str, source: list[str]) -> None:
    """Replace the two blocks by what they stand for."""
    source[0] = MATHEMATICS.sub(mathematics, API.sub(listed, source[0]))


def restructured(text: str) -> str:
    """Markdown's code and formulas as reStructuredText's."""

    def marked(match: re.Match) -> str:
        code, block, formula = match.groups()
        if match[0] == "_":  # of a name that is not marked as code: no link
            return "\\_"
        if code and "====" in text:  # a table, whose columns must not move; conf.py's default role is code, too
            return match[0]
        before = text[match.start() - 1] if match.start() else " "
        after = text[match.end()] if match.end() < len(text) else " "
        if block is not None:
            indent = re.search(r"^[ ]*", text[text.rfind("\n", 0, match.start()) + 1 :])[0]
            body = "\n".join(f"{indent}   {line.strip()}" for line in block.strip().splitlines())
            rest = "" if after == "\n" else f"\n\n{indent}"
            return f"\n{indent}.. math::\n\n{body}\n{rest}".lstrip(" ")
        inside = " ".join((code or formula).split())
        markup = f"``{inside}``" if code else f":math:`{inside}`"
        return ("" if before in BEFORE else "\\ ") + markup + ("" if after in AFTER else "\\ ")

    return INLINE.sub(marked, text)


def to_rst(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """For autodoc, before napoleon sees the sections."""
    lines[:] = REFERENCES.sub(bullets, restructured("\n".join(lines))).splitlines()


class Homes(ast.NodeTransformer):
    """Types by where they stand, as some of one name stand in two modules; what is shown is the name alone."""

    def __init__(self, module: str):
        self.known = vars(importlib.import_module(module))

    def visit_Name(self, node: ast.Name) -> ast.AST:  # noqa: N802
        """A class of ours by its public module, where its entry is; what has none by its name alone."""
        thing = self.known.get(node.id)
        home = ".".join(getattr(thing, "__module__", "").split(".")[:2])
        public = (
            inspect.isclass(thing) and home.startswith("ptilde.") and hasattr(importlib.import_module(home), node.id)
        )
        return ast.parse(f"{home}.{node.id}", mode="eval").body if public else node


def arguments(thing: Any) -> tuple[str, str | None]:
    """A signature with its types as the source names them: `Point`, not what it stands for."""
    homes = Homes(thing.__module__)
    tree: Any = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            if isinstance(getattr(node, field, None), ast.AST):
                setattr(node, field, homes.visit(getattr(node, field)))
    if isinstance(tree, ast.ClassDef):
        (own,) = [part for part in tree.body if getattr(part, "name", "") == "__init__"] or [None]
        if own is None:
            fields = [ast.unparse(part) for part in tree.body if isinstance(part, ast.AnnAssign)]
            return "(" + ", ".join(field for field in fields if "ClassVar" not in field) + ")", None
        tree = own
    if tree.args.args and tree.args.args[0].arg in ("self", "cls"):
        del tree.args.args[0]
    return f"({ast.unparse(tree.args)})", tree.returns and ast.unparse(tree.returns)


def signature(app: Any, what: str, name: str, thing: Any, options: Any, args: str | None, returned: str | None) -> Any:
    """For autodoc: from the source, where there is one."""
    ours = getattr(thing, "__module__", "").startswith("ptilde") and args is not None
    return arguments(inspect.unwrap(thing)) if ours and args != "()" else (args, returned)


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx."""
    app.connect("source-read", expand)
    app.connect("autodoc-process-docstring", to_rst, priority=400)
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True}
