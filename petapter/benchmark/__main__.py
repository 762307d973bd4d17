"""The process of one isolated cell: `python -m petapter.benchmark REQUEST RESULT`, started by `isolated.py` alone."""

import sys
from pathlib import Path

from petapter.benchmark.isolated import answer_request
from petapter.process import settle

if __name__ == "__main__":
    settle()
    answer_request(*(Path(argument) for argument in sys.argv[1:]))
