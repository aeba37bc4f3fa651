"""Shows a bridge in a cell's output, and takes what was shown back when it is stopped."""

import secrets
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from ttybridge.client.control import Control
from ttybridge.client.status import Status
from ttybridge.notebook import card
from ttybridge.notebook.card import Card, Links
from ttybridge.notebook.places import LINK_LIFE_S, Place
from ttybridge.qr import qr_text


class Outputs:
    """The outputs of one kernel that show a bridge.

    Attributes:
        life_s: Seconds in which the links in them can be opened.
    """

    life_s = LINK_LIFE_S

    def __init__(self, shell: Any, place: Place, stop: Callable[[object], None]) -> None:
        """Remember where outputs go.

        Args:
            shell: An IPython `InteractiveShell`.
            place: The platform.
            stop: Stops the bridge; called with the button that was pressed.
        """
        self._shell = shell
        self._place = place
        self._stop = stop
        self._shown: dict[str, bool] = {}  # by display id: whether it is a card

    def show(self, control: Control, status: Status, title: str) -> None:
        """Show the card, and the terminal where the place can."""
        made = Card(
            id=secrets.token_hex(6),
            status=status,
            links=self._links(control, status),
            made_at=time.time(),
            life_s=self.life_s,
            title=title,
            stop_call=self._place.stop_call,
        )
        text = card.as_text(made)
        if not self._place.has_browser:
            print(f"{text}\n{qr_text(made.links.qr) if made.links.qr else ''}")  # noqa: T201
            return
        self._publish({"text/html": card.as_html(made), "text/plain": text}, is_card=True)
        if not self._place.stop_call:
            self._show_stop_button()
        self._place.show_terminal(control, status, self._publish)

    def say_stopped(self) -> None:
        """Put a sentence in the place of all that was shown: no link stays in the notebook."""
        for display_id, is_card in self._shown.items():
            text = card.STOPPED if is_card else ""
            data = {"text/html": text and f"<p>{text}</p>", "text/plain": text}
            self._send(data, display_id, update=True)
        self._shown.clear()

    def _links(self, control: Control, status: Status) -> Links:
        """Make a link for each use: what one of them lets in does not use up another."""

        def make() -> str:
            return control.link(life_s=self.life_s, uses=1).url

        if not status.public_url:
            return Links(page=make() if self._place.may_be_near else "")
        needs_link = status.ssh is not None and status.ssh.public is None
        return Links(page=make(), qr=make(), ssh=make() if needs_link else "")

    def _show_stop_button(self) -> None:
        """Show a button, if widgets are installed."""
        try:
            button = import_module("ipywidgets").Button(description="Stop the bridge")
        except ImportError:
            return  # the card says what to type
        button.on_click(self._stop)
        self._publish(button._repr_mimebundle_())

    def _publish(self, data: Mapping[str, object], *, is_card: bool = False) -> None:
        display_id = secrets.token_hex(8)
        self._shown[display_id] = is_card
        self._send(data, display_id)

    def _send(self, data: Mapping[str, object], display_id: str, *, update: bool = False) -> None:
        transient = {"display_id": display_id}
        self._shell.display_pub.publish(dict(data), {}, transient=transient, update=update)
