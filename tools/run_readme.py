"""Run README.md as a reader would: its ```bash and ```python blocks, in order, in an empty folder.

Python blocks share one namespace. Commands that fetch and install the project (`git clone`, `cd`, `pip install`) are
left out, being what CI has done already; `make` runs in the project's folder, and as nothing there is of use to other
blocks, beside them. Blocks of another language are text. What a block prints is not compared with anything.

    python tools/run_readme.py                  run every block but the test command
    python tools/run_readme.py --test-command   print the line that runs the tests, and do nothing
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DONE_ALREADY = re.compile(r"(git clone|cd|(uv )?pip install|python3? -m pip install)\b")


def blocks(text: str) -> Iterator[tuple[str, int, str]]:
    """Language, line number and code of each block that runs."""
    for match in FENCE.finditer(text):
        yield match[1], text.count("\n", 0, match.start()) + 2, match[2]


def test_command(text: str) -> str:
    commands = [
        line.partition(" #")[0].strip()
        for language, _, code in blocks(text)
        if language == "bash"
        for line in code.splitlines()
        if re.match(r"make test\b|(uv run |python -m )?pytest\b", line)
    ]
    if len(commands) != 1:
        raise SystemExit(f"README.md must have one line of bash that runs the tests (`make test`); it has {commands}")
    return commands[0]


def without_set_up(line: str, tests: str) -> str:
    """A line of bash less the commands that CI has run already, its `make` told where the project is."""
    command = line.partition(" #")[0].rstrip()
    if command == tests:
        return ""
    kept = [part for part in command.split(" && ") if not DONE_ALREADY.match(part)]
    return " && ".join(re.sub(r"^make\b", f'make -C "{ROOT}"', part) for part in kept)


def run_bash(code: str, line: int, tests: str) -> None:
    script = "\n".join(without_set_up(part, tests) for part in code.splitlines())
    if subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=False).returncode:
        raise SystemExit(f"README.md, line {line}: this block fails\n{code}")


def run_python(code: str, line: int, namespace: dict) -> None:
    tree = ast.increment_lineno(ast.parse(code, "README.md"), line - 1)
    exec(compile(tree, "README.md", "exec"), namespace)


def main() -> None:
    text = (ROOT / "README.md").read_text()
    tests = test_command(text)
    if "--test-command" in sys.argv:
        print(tests)
        return
    found = list(blocks(text))
    if not found or found[0][1] > 20:
        raise SystemExit(f"README.md: the first code must stand above line 20; it stands at {found[:1]}")
    os.environ |= {"MPLBACKEND": "Agg", "PATH": f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"}
    namespace: dict = {"__name__": "__main__"}

    def run(language: str, line: int, code: str) -> None:
        start = time.monotonic()
        if language == "bash":
            run_bash(code, line, tests)
        else:
            run_python(code, line, namespace)
        print(f"README.md, line {line}: {language} ran in {time.monotonic() - start:.1f} s", flush=True)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as beside:
        os.chdir(folder)
        made = []
        for language, line, code in found:
            if language == "bash" and re.search(r"^make\b", code, re.MULTILINE):
                made.append(beside.submit(run, language, line, code))
            else:
                run(language, line, code)
        for block in made:
            block.result()
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
