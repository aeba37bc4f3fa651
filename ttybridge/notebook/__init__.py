"""The notebook extension: `%load_ext ttybridge`. IPython is imported by nothing in here."""
