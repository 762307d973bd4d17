"""Mutate inputs of one parser, guided by what each reaches, until it breaks or the time is over.

    pip install --group fuzz
    python -m tests.fuzz.run PARSER [--seconds 600] [--corpus DIR]

Needs atheris (libFuzzer for Python). An input that breaks the parser is kept in the working directory as `crash-…`, and
the program ends with another code than 0. `--corpus` keeps what reached something new, for the next time.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["petapter_schemas", "petapter_registry_server", "petapter.task", "yaml"]):
    from tests.fuzz.parsers import PARSERS, SEEDS, refused_or_read


def main() -> None:
    """Run libFuzzer; it ends the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parser", choices=[*PARSERS])
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path)
    options = parser.parse_args()
    corpus = options.corpus or Path(tempfile.mkdtemp(prefix="petapter-corpus-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(SEEDS[options.parser]):
        (corpus / f"seed-{number}").write_bytes(data)
    parse = PARSERS[options.parser]

    def one_input(data: bytes) -> None:
        refused_or_read(parse, data)

    limits = [f"-max_total_time={options.seconds}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
