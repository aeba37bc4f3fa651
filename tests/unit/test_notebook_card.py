"""What a notebook shows, where it is, what it sends: without a kernel and without a bridge."""

import dataclasses
import re
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import segno

from ttybridge.client.control import Sent
from ttybridge.client.status import SshStatus, Status, TunnelStatus
from ttybridge.config import Config
from ttybridge.errors import TtyBridgeError
from ttybridge.notebook import card, frame, words
from ttybridge.notebook.card import Card, Links
from ttybridge.notebook.frame import Frame
from ttybridge.notebook.magics import label
from ttybridge.notebook.places import Colab, Jupyter, Kaggle, Terminal, find_place
from ttybridge.notebook.sync import EnvironmentSync
from ttybridge.qr import TEXT_QUIET_ZONE, qr_svg, qr_text

PUBLIC = "https://ab12.ngrok-free.app"
SSH = SshStatus(
    user="me", host="127.0.0.1", port=2222, command="ssh -p 2222 me@127.0.0.1",
    host_key="ssh-ed25519 AAAA", fingerprint="SHA256:abc", public=("2.tcp.ngrok.io", 14523),
)  # fmt: skip
TUNNEL = TunnelStatus("ngrok", "open", (PUBLIC, "tcp://2.tcp.ngrok.io:14523"), ("Press <Visit>.",))
STATUS = Status(
    pid=7, label="", version="1.0", started_at=1000.0, session="0", mode="tmux", port=8080,
    address="http://127.0.0.1:8080/", clients=2, tunnel=TUNNEL, ssh=SSH, proxy=(6006,),
)  # fmt: skip


def link(text: str) -> str:
    return f"{PUBLIC}/?link={text}"


def make_card(**changes: Any) -> Card:
    made = Card("id1", STATUS, Links(link("page"), link("qr")), 1000.0, 600.0, "tmux session 0")
    return dataclasses.replace(made, **changes)


def without_tcp(**changes: Any) -> Card:
    status = dataclasses.replace(STATUS, ssh=dataclasses.replace(SSH, public=None))
    return make_card(status=status, links=Links(link("page"), link("qr"), link("ssh")), **changes)


def test_the_text_has_link_ssh_line_and_deep_link() -> None:
    lines = card.as_text(make_card()).splitlines()
    assert f"Link: {link('page')}" in lines
    assert "SSH: ssh -p 14523 me@2.tcp.ngrok.io" in lines
    assert "VS Code: vscode://vscode-remote/ssh-remote+me@2.tcp.ngrok.io:14523/" in lines
    assert "one browser in, within 10 minutes" in lines[-2]
    assert "%ttybridge stop" in lines[-1]


def test_ssh_goes_over_the_web_address_where_there_is_no_tcp() -> None:
    lines = card.as_text(without_tcp()).splitlines()
    assert f"SSH: ttybridge ssh '{link('ssh')}'" in lines
    # The name is the one that `ttybridge ssh-config --write` makes of this address.
    assert "VS Code: vscode://vscode-remote/ssh-remote+ttybridge-ab12.ngrok-free.app/" in lines
    assert f"ttybridge ssh-config --write {PUBLIC}/" in card.as_html(without_tcp())


def test_the_card_loads_nothing_and_links_where_it_says() -> None:
    html = card.as_html(make_card())
    assert re.findall(r'(?:src|srcset|action|data|url)\s*[=(]\s*["\']?[a-z]+:', html) == []
    assert "@import" not in html
    deep = "vscode://vscode-remote/ssh-remote+me@2.tcp.ngrok.io:14523/"
    assert re.findall(r'href="([^"]*)"', html) == [link("page"), deep]
    assert re.findall(r'data-copy="([^"]*)"', html) == [
        link("page"), "ssh -p 14523 me@2.tcp.ngrok.io", deep,
    ]  # fmt: skip
    assert qr_svg(link("qr")) in html


def test_text_of_others_in_the_card_is_text() -> None:
    evil = "</script><img src=x onerror=alert(1)>\"'"
    status = dataclasses.replace(
        STATUS,
        ssh=dataclasses.replace(SSH, user=evil, fingerprint=evil, public=(evil, 1)),
        tunnel=dataclasses.replace(TUNNEL, name=evil, notes=(evil,)),
    )
    html = card.as_html(make_card(status=status, title=evil, links=Links(evil, evil)))
    assert "<img" not in html
    assert html.count("<script>") == html.count("</script>") == 1
    shown = frame.as_html(Frame("id", 8080, f"/{evil}", 0.0, 600.0, evil))
    assert "<img" not in shown
    assert shown.count("<script>") == shown.count("</script>") == 1


def test_a_card_without_links_says_nothing_of_links() -> None:
    status = dataclasses.replace(STATUS, tunnel=None, ssh=None)
    bare = make_card(status=status, links=Links(""))
    assert "one browser" not in card.as_text(bare) + card.as_html(bare)
    assert "<svg" not in card.as_html(bare)
    assert "on this machine" in card.as_text(bare)


def test_the_public_address_has_the_path_of_the_local_one() -> None:
    below = dataclasses.replace(STATUS, address="http://127.0.0.1:8080/tty/")
    assert (STATUS.public_url, below.public_url) == (f"{PUBLIC}/", f"{PUBLIC}/tty/")
    assert frame.path_of(below.address, "?link=x") == "/tty/?link=x"


@pytest.mark.parametrize("colors", [True, False], ids=["colours", "plain"])
def test_a_code_on_a_terminal_has_every_module_in_its_place(colors: bool) -> None:
    text = link("abcdefghijklmnopqrstuvwx")
    rows: list[list[bool]] = []
    for line in re.sub(r"\x1b\[[0-9;]*m", "", qr_text(text, colors=colors)).splitlines():
        rows.append([char in " ▄" for char in line])  # light is drawn: a blank half is dark
        rows.append([char in " ▀" for char in line])
    wanted = segno.make(text, error="m", micro=False).matrix_iter(border=TEXT_QUIET_ZONE)
    dark = [list(map(bool, row)) for row in wanted]
    assert rows[: len(dark)] == dark
    assert rows[len(dark) :] in ([], [[False] * len(dark)])
    assert ("\x1b[" in qr_text(text, colors=colors)) == colors


def test_status_is_told_in_lines() -> None:
    told = words.status(STATUS, 1000.0 + 7500, "ssh -p 14523 me@2.tcp.ngrok.io")
    assert "2 clients" in told
    assert "up for 2 h 5 min" in told
    assert f"Public: {PUBLIC}, tcp://2.tcp.ngrok.io:14523 (ngrok, open)" in told
    assert "SSH: ssh -p 14523 me@2.tcp.ngrok.io\nHost key: SHA256:abc" in told
    assert "/proxy/: 6006" in told


def test_the_label_names_the_notebook_and_tells_two_of_one_name_apart() -> None:
    first, second = (label({"JPY_SESSION_NAME": f"/{x}/work.ipynb"}) for x in "ab")
    assert first != second
    assert first.startswith("notebook work.ipynb ")
    assert label({"JPY_SESSION_NAME": "/a/work.ipynb", "OTHER": "1"}) == first
    assert label({}) == label({"HOME": "/root"})
    long = label({"JPY_SESSION_NAME": "/" + "x\n" * 200})
    assert long.isprintable()
    assert len(long) <= 100


class Taking:
    """A control socket that notes what is sent, and refuses when told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[dict[bytes, bytes], list[bytes]]] = []
        self.refuses = False

    def send_environment(self, changed: Mapping[bytes, bytes], unset: Sequence[bytes]) -> Sent:
        if self.refuses:
            raise TtyBridgeError("Not now.")
        self.sent.append((dict(changed), list(unset)))
        return Sent(len(changed), len(unset), ("TERM",) if b"TERM" in changed else ())


def syncing(environment: dict[bytes, bytes], *, is_new: bool = True) -> tuple[Any, Taking]:
    sync, taking = EnvironmentSync(lambda: environment), Taking()
    sync.attach(taking, is_new=is_new)  # type: ignore[arg-type]
    return sync, taking


def test_only_what_has_changed_is_sent_and_no_secret_of_ours() -> None:
    environment = {b"A": b"1", b"B": b"2"}
    sync, taking = syncing(environment)
    sync.send_changes()
    assert taking.sent == []
    environment.update({b"A": b"\xff", b"TERM": b"x", b"NGROK_AUTHTOKEN": b"t"})
    environment[b"TTYBRIDGE_TOKEN"] = b"t"
    del environment[b"B"]
    sync.send_changes()
    sync.send_changes()
    assert taking.sent == [({b"A": b"\xff", b"TERM": b"x"}, [b"B"])]
    report = words.sync_report(sync)
    assert "Set last: A, TERM\nRemoved last: B\nLeft alone: TERM" in report


def test_changes_that_were_refused_or_switched_off_are_sent_later() -> None:
    environment: dict[bytes, bytes] = {}
    sync, taking = syncing(environment)
    environment[b"A"], taking.refuses = b"1", True
    sync.send_changes()
    assert "did not arrive: Not now." in words.sync_report(sync)
    taking.refuses, sync.is_on = False, False
    sync.send_changes()
    assert taking.sent == []
    sync.is_on = True
    sync.send_changes()
    assert taking.sent == [({b"A": b"1"}, [])]
    assert "did not arrive" not in words.sync_report(sync)
    sync.detach()
    environment[b"A"] = b"2"
    sync.send_changes()
    assert len(taking.sent) == 1


def test_a_bridge_that_is_found_again_gets_the_whole_environment_once() -> None:
    sync, taking = syncing({b"A": b"1"}, is_new=False)
    sync.send_changes()
    sync.send_changes()
    assert taking.sent == [({b"A": b"1"}, [])]


@pytest.fixture
def colab(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules under the names of Colab's, with nothing in them but what a test adds."""
    names = ("google", "google.colab", "google.colab.output", "google.colab.userdata")
    modules: dict[str, Any] = {name: types.ModuleType(name) for name in names}
    modules["google.colab.output"].register_callback = lambda name, call: None
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return modules["google.colab.userdata"]


def test_each_place_is_recognized(colab: Any) -> None:
    def found(*, has_kernel: bool = True, **environ: str) -> type:
        return type(find_place(environ, has_kernel=has_kernel, stop=lambda: None))

    assert found() is Colab
    assert found(KAGGLE_KERNEL_RUN_TYPE="Interactive") is Kaggle
    sys.modules["google.colab.output"] = None  # type: ignore[assignment]
    assert found() is Jupyter
    assert found(has_kernel=False) is Terminal


def test_colab_gives_ngroks_token_from_its_secrets_or_nothing(colab: Any) -> None:
    place = find_place({}, has_kernel=True, stop=lambda: None)
    assert place.ngrok_token() == ""  # its module lacks the function
    colab.get = {"NGROK_AUTHTOKEN": " abc\n"}.__getitem__
    assert place.ngrok_token() == "abc"

    def refuse(name: str) -> str:
        raise PermissionError(name)

    colab.get = refuse
    assert place.ngrok_token() == ""


def test_kaggle_gives_ngroks_token_and_insists_on_a_tunnel(monkeypatch: Any) -> None:
    place = find_place({"KAGGLE_KERNEL_RUN_TYPE": "Batch"}, has_kernel=True, stop=lambda: None)
    assert place.ngrok_token() == ""
    secrets: Any = types.ModuleType("kaggle_secrets")
    secrets.UserSecretsClient = lambda: types.SimpleNamespace(get_secret=lambda name: f"my {name}")
    monkeypatch.setitem(sys.modules, "kaggle_secrets", secrets)
    assert place.ngrok_token() == "my NGROK_AUTHTOKEN"
    with pytest.raises(TtyBridgeError, match="Add a tunnel"):
        place.check(Config())
    place.check(Config(cloudflared=True))
