"""Bytes that reach new code, found by atheris: `python -m benchmarks.fuzz csv -runs=100000`.

A case passes as in `benchmarks.hostile`: a result, or the error that is promised. Whatever else happens ends the run
with the bytes in a file. Needs `pip install atheris`, which is no dependency of the project.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ptilde"]):
    from benchmarks import hostile
    from benchmarks.hostile import models, parquets, tables, tomls
    from ptilde import DataError, ModelFileError, store

SORTS = {
    "csv": (hostile.taken_in, tables.csv_file),
    "parquet": (hostile.taken_in, parquets.parquet_file),
    "toml": (hostile.spelt, tomls.toml_file),
    "format": (lambda path: store.read(path, models.small_shapes), lambda i: models.mutant(models.small_file(), i)),
}
SEEDS = 200


def main() -> None:
    use, make = SORTS[sys.argv.pop(1)]
    folder = Path(tempfile.mkdtemp())
    corpus, path = folder / "corpus", folder / "1.file"
    corpus.mkdir()
    for i in range(SEEDS):
        (corpus / str(i)).write_bytes(make(i))

    def one(data: bytes) -> None:
        path.write_bytes(data)
        try:
            use(path)
        except (DataError, ModelFileError):
            pass

    atheris.Setup([*sys.argv, "-max_len=20000", "-rss_limit_mb=4096", str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
