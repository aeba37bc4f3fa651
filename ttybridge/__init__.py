"""ttybridge: a shared tmux session in the browser, with the environment of the starting process."""

__version__ = "0.1.0"

__all__ = ["Bridge", "__version__", "load_ipython_extension", "start", "unload_ipython_extension"]

# By name, when first used: the modules behind them import most of the package, and what every
# program imports stays cheap. For type checkers, __init__.pyi has them.
_HOMES = {
    "Bridge": "ttybridge.launch",
    "load_ipython_extension": "ttybridge.notebook.magics",
    "start": "ttybridge.launch",
    "unload_ipython_extension": "ttybridge.notebook.magics",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
