"""Targets for coverage-guided fuzzing, with a corpus each; `python -m fuzz --help`."""
