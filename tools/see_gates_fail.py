"""See every gate of .ci/run fail: plant one violation at a time in a clone of HEAD, run its gate, expect a refusal.

    make environment && python tools/see_gates_fail.py

A clone without a violation must pass first, or a refusal would mean nothing. Takes two minutes; the environment is
shared.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = "# x\n\n```python\nimport ptilde\n```\n\n```bash\nmake test\ntrue\n```\n"
TEST = "def test_one():\n    assert True\n"


def append(name: str, text: str) -> Callable[[Path], None]:
    def plant(clone: Path) -> None:
        path = clone / name
        path.write_text((path.read_text() if path.exists() else "") + text)

    return plant


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def plant(clone: Path) -> None:
        path = clone / name
        text = path.read_text()
        assert old in text, (name, old)
        path.write_text(text.replace(old, new))

    return plant


def remove(name: str) -> Callable[[Path], None]:
    return lambda clone: (clone / name).unlink()


# Gate, violation, a word of the refusal, and how to plant it.
VIOLATIONS: list[tuple[str, str, str, Callable[[Path], None]]] = [
    ("style", "an import that is not used", "F401", append("src/ptilde/_files.py", "import json\n")),
    ("style", "a line of 130 characters", "E501", append("src/ptilde/_files.py", "# " + "x" * 128 + "\n")),
    (
        "format",
        "a file that ruff would lay out otherwise",
        "would be reformatted",
        append("src/ptilde/_files.py", "x = {  'a':1 }\n"),
    ),
    (
        "layers",
        "a lower layer that imports a higher one",
        "ptilde._json is not allowed to import ptilde.store",
        append("src/ptilde/_json.py", "\nimport ptilde.store\n"),
    ),
    (
        "layers",
        "a sibling that imports its sibling",
        "ptilde.datasets is not allowed to import ptilde.tabular",
        append("src/ptilde/datasets/randhie.py", "\nimport ptilde.tabular\n"),
    ),
    (
        "layers",
        "a picture outside the report",
        "is not allowed to import matplotlib",
        append("src/ptilde/store.py", "\nimport matplotlib.pyplot\n"),
    ),
    ("layers", "torch", "is not allowed to import torch", append("src/ptilde/store.py", "\nimport torch\n")),
    ("layers", "a module that has no layer", "ptilde.stray", append("src/ptilde/stray.py", '"""Nowhere."""\n')),
    (
        "types",
        "a word where a number belongs",
        "reportAssignmentType",
        append("src/ptilde/_json.py", '\nwrong: int = "one"\n'),
    ),
    (
        "names",
        "the host of a registry",
        "docs/design.md:",
        append("docs/design.md", "https://" + "py" + "pi.org/simple\n"),
    ),
    ("names", "a path of this machine", "Makefile:", append("Makefile", "# /wo" + "rk/main\n")),
    (
        "lock",
        "a dependency that is not pinned",
        "asks for chex",
        replace("pyproject.toml", '"optax>=0.2.5"', '"optax>=0.2.5", "chex>=0.1"'),
    ),
    (
        "lock",
        "a pin below what is asked for",
        "asks for optax>=99",
        replace("pyproject.toml", '"optax>=0.2.5"', '"optax>=99"'),
    ),
    ("lock", "a pin without its hashes", "no hashes: chex", append("requirements.lock", "chex==0.1.90\n")),
    (
        "lock",
        "torch in the lock",
        "a peer in the lock: torch",
        append("requirements.lock", "torch==2.9.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"),
    ),
    (
        "docs",
        "a link that leads nowhere",
        "nowhere.md",
        append("docs/index.md", "\n[there](nowhere.md)\n"),
    ),
    (
        "tests",
        "a test that fails",
        "1 failed, 1 passed",
        append("tests/test_tiny.py", "\n\ndef test_two():\n    assert False\n"),
    ),
    (
        "tests",
        "a slow test that fails",
        "1 failed, 1 passed",
        append("tests/test_tiny.py", "\n\nimport pytest\n\n\n@pytest.mark.slow\ndef test_two():\n    assert False\n"),
    ),
    (
        "tests",
        "a test file that cannot be imported",
        "No module named 'nowhere'",
        append("tests/test_tiny.py", "\nimport nowhere\n"),
    ),
    (
        "tests",
        "a marker that nobody declared",
        "'slwo' not found",
        append("tests/test_tiny.py", "\nimport pytest\n\npytestmark = pytest.mark.slwo\n"),
    ),
    ("tests", "no tests at all", "no tests ran", remove("tests/test_tiny.py")),
    (
        "tests",
        "a README without the test command",
        "must have one line of bash",
        replace("README.md", "make test", "true"),
    ),
    (
        "reliability",
        "a write that leaves half of a file",
        "not the file that should be there",
        replace(
            "src/ptilde/_files.py", "os.replace(temporary, target)", "target.write_bytes(temporary.read_bytes()[:50])"
        ),
    ),
    (
        "readme",
        "a python block that raises",
        "no attribute 'nothing'",
        append("README.md", "\n```python\nptilde.nothing\n```\n"),
    ),
    (
        "readme",
        "a bash block that fails half-way",
        "this block fails",
        append("README.md", "\n```bash\nfalse\ntrue\n```\n"),
    ),
    (
        "readme",
        "code that begins below line 20",
        "must stand above line 20",
        replace("README.md", "# x\n", "# x\n" * 20),
    ),
]


def make_clone(folder: Path) -> Path:
    """A clone with one small test and a small README, that shares this environment and believes it to be up to date."""
    clone = folder / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
    (clone / ".venv").symlink_to(ROOT / ".venv")
    shutil.rmtree(clone / "tests")
    (clone / "tests").mkdir()
    (clone / "tests/test_tiny.py").write_text(TEST)
    (clone / "README.md").write_text(README)
    return clone


def refused(clone: Path, gate: str) -> tuple[bool, str]:
    subprocess.run(["git", "add", "--all", ":!.venv"], cwd=clone, check=True)
    for name in ("requirements.lock", "pyproject.toml"):
        os.utime(clone / name, (0, 0))  # older than .venv/ready, or make would install the clone over this project
    environment = os.environ | {"PYTHONPATH": str(clone / "src")}
    run = subprocess.run([".ci/run", gate], cwd=clone, env=environment, capture_output=True, text=True, check=False)
    return run.returncode != 0, (run.stdout + run.stderr)[-4_000:]


def main() -> int:
    assert (ROOT / ".venv/ready").exists(), "run `make environment` first"
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        for gate in dict.fromkeys(gate for gate, *_ in VIOLATIONS):
            bad, output = refused(make_clone(Path(name)), gate)
            wrong += bad
            print(
                f"{gate:8} {'REFUSES a clone without violation' if bad else 'passes'}",
                output if bad else "",
                flush=True,
            )
        for gate, violation, word, plant in VIOLATIONS:
            clone = make_clone(Path(name))
            plant(clone)
            bad, output = refused(clone, gate)
            good = bad and word in " ".join(output.split())
            wrong += not good
            print(
                f"{gate:8} {'refuses' if good else 'LETS THROUGH, or refuses for another reason,'} {violation}",
                "" if good else output,
                flush=True,
            )
    print(f"{len(VIOLATIONS)} violations, {wrong} wrong answers")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
