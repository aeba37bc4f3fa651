"""ttybridge: a shared tmux session in the browser, with the environment of the starting process."""

__version__ = "0.1.0"

__all__ = ["__version__"]
