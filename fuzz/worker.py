"""One target under atheris: `python -m fuzz.worker TARGET [options of libFuzzer]`; see `fuzz`."""

import importlib
import sys

import atheris


def main() -> None:
    """Fuzz until libFuzzer's options say that it is enough."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["ttybridge"], enable_loader_override=False):
        target = importlib.import_module(f"fuzz.fuzz_{name}")
    atheris.Setup(sys.argv, target.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
