"""One sort of cases by hand: `python -m benchmarks.hostile csv 10000`."""

import argparse
import faulthandler
import json

from benchmarks import hostile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sort", choices=hostile.SORTS)
    parser.add_argument("cases", type=int)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    asked = parser.parse_args()
    faulthandler.enable()
    found = hostile.SORTS[asked.sort](asked.cases, asked.first)
    print(json.dumps({"sort": asked.sort, **found._asdict()}, indent=1))


if __name__ == "__main__":
    main()
