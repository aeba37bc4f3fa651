from ttybridge.launch import Bridge as Bridge
from ttybridge.launch import start as start
from ttybridge.notebook.magics import load_ipython_extension as load_ipython_extension
from ttybridge.notebook.magics import unload_ipython_extension as unload_ipython_extension

__version__: str
__all__ = ["Bridge", "__version__", "load_ipython_extension", "start", "unload_ipython_extension"]
