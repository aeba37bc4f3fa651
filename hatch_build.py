"""Puts the built page into the wheel (as ttybridge/page) and into the sdist (as static/dist)."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageBuildHook(BuildHookInterface[Any]):
    """Builds the page before files are collected.

    An sdist is recognised by its PKG-INFO: there the page is built already and Node is not
    asked for. An editable install uses static/dist of the checkout and does without a
    page where Node is missing.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page and add it to what is packed.

        Args:
            version: "standard" or "editable".
            build_data: Hatchling's settings for this build; changed in place.

        Raises:
            RuntimeError: the page cannot be built; the text says what to do.
        """
        root = Path(self.root)
        dist = root / "static" / "dist"
        is_sdist = (root / "PKG-INFO").is_file() and (dist / "index.html").is_file()
        if not is_sdist:
            page = runpy.run_path(str(root / "scripts" / "page.py"))
            try:
                page["build"](root)
            except page["PageError"] as error:
                if version != "editable":
                    raise RuntimeError(str(error)) from None
                self.app.display_warning(str(error))
        if self.target_name == "sdist":
            build_data["force_include"][str(dist)] = "static/dist"
        elif version == "standard":
            build_data["force_include"][str(dist)] = "ttybridge/page"
