"""What a program prints stays in the terminal: a corpus of escape sequences, in a real browser."""

import random
import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import RunningBridge, StartBridge, Tmux, wait_until
from tests.page.conftest import NewContext, NewTab
from tests.page.escapes import ANSWERS, COMMAND, CORPUS, END, FENCE, FENCE_ANSWER, TEXTS, b64, osc
from tests.page.tab import Tab
from tests.page.watch import Puppet, Watch, difference, steady

pytestmark = pytest.mark.browser

WORKED_THROUGH_S = 20.0
"""Longest time that one entry of the corpus may keep the page, in seconds."""

OFFER = '<div class="toast asks" role="status" data-group="copy">'
"""The only thing that may come outside of the terminal: a question, whether to copy."""

ALLOWED = (
    ("added", OFFER),
    ("added", '<div class="toast quiet" role="status" data-group="people">'),  # who came
)

TMUX_ANSWERS = rb"\x1b\[[48];[0-9]{1,4};[0-9]{1,4}t|\x1b\]52;;[A-Za-z0-9+/=]*(?:\x07|\x1b\\)"
"""tmux says how large its window is, and gives its own buffer, not the browser's clipboard."""

REDRAWN = 32
"""Most by which a colour differs where Chromium has drawn the same line once more, of 256: up to 16
were seen at an icon's edges. A mark in the colour of the text differs by far more."""

LARGEST_CELL = """() => {
  const terminal = window.ttybridge.terminal, buffer = terminal.buffer.active;
  let most = 0;
  for (let y = Math.max(0, buffer.length - 300); y < buffer.length; y += 1) {
    for (let x = 0; x < terminal.cols; x += 1) {
      most = Math.max(most, [...(buffer.getLine(y).getCell(x)?.getChars() ?? "")].length);
    }
  }
  return most;
}"""


@pytest.fixture
def puppet(tmp_path: Path) -> Puppet:
    return Puppet(tmp_path / "puppet")


def play(puppet: Puppet, tab: Tab, number: int, data: bytes) -> bytes:
    """Have something printed, then a line that must be seen; return what was typed by itself."""
    mark = f"mark-{number}-"
    puppet.take()
    puppet.print(data + END + mark.encode() + FENCE)
    wait_until(
        lambda: puppet.typed.endswith(FENCE_ANSWER), "the answer to the fence", WORKED_THROUGH_S
    )
    row = "() => window.ttybridge.terminal.buffer.active.getLine(0)?.translateToString(true)"
    wait_until(lambda: tab.page.evaluate(row) == mark, f"{mark} on the screen", WORKED_THROUGH_S)
    return puppet.take().removesuffix(FENCE_ANSWER)


def check_answers(pattern: bytes, typed: bytes, watch: Watch) -> None:
    """Check that the page has typed what may be, and the program got no more than that."""
    assert re.fullmatch(pattern, typed), typed[:300]
    sent = "".join(watch.typed).encode("latin-1", "replace")
    assert re.fullmatch(b"(?:%s)*" % ANSWERS, sent), sent[:300]
    watch.typed.clear()


def play_harmless(
    puppet: Puppet, tab: Tab, watch: Watch, host: str, number: int, data: bytes, answers: bytes
) -> bytes:
    """Have something printed, check that nothing came of it, and return what was typed."""
    typed = play(puppet, tab, number, data)
    check_answers(answers, typed, watch)
    watch.check(hosts={host}, allowed=ALLOWED)
    return typed


def open_watched(tab: Tab, bridge: RunningBridge) -> Watch:
    """Open a page whose program is the puppet, and return what watches it, which has not begun."""
    watch = Watch(tab.page)
    tab.open(bridge.link)
    tab.wait_for("puppet-ready")
    return watch


def read_clipboard(tab: Tab) -> str:
    return str(tab.page.evaluate("() => navigator.clipboard.readText()"))


@pytest.mark.long
def test_the_watch_notices_what_it_is_there_for(
    start_bridge: StartBridge, new_tab: NewTab, puppet: Puppet
) -> None:
    bridge = start_bridge(command=puppet.argv)
    tab = new_tab()
    watch = open_watched(tab, bridge)
    watch.begin()
    bad = {
        "a script ran": "window.__canary.push('x')",
        "readText": "navigator.clipboard.readText().catch(() => 0); 0",
        "writeText": "navigator.clipboard.writeText('x').catch(() => 0); 0",
        "alert": "alert(1)",
        "added": "document.body.append(document.createElement('p'))",
        "pushState": "history.pushState(0, '', '#x')",
        "pop-up": "window.open('about:blank') && 0",
        "title": "document.title = 'a\\u202eb'",
        "frames": "document.querySelector('#terminal').style.top = '-20px'",
        "stray": "document.querySelector('.xterm-screen').style.marginLeft = '-99px'",
        "size": "window.ttybridge.terminal.resize(20, 5)",
    }
    for words, script in bad.items():
        tab.page.evaluate(script)
        if words == "pop-up":
            wait_until(lambda: tab.state() and watch.events, "the pop-up")
        with pytest.raises(AssertionError):
            watch.check(hosts={bridge.host})
        tab.page.reload()
        tab.wait_for_state("connected")
        wait_until(tab.renderer, "the renderer")
        puppet.print(b".")
        wait_until(lambda: tab.offset() > 0, "output")
        watch.begin()
        watch.check(hosts={bridge.host})
    tab.type("x")
    wait_until(lambda: tab.state() and watch.typed == ["x"], "the key is seen on its way")
    with pytest.raises(AssertionError):
        check_answers(b"", puppet.take(), watch)


def test_nothing_in_the_corpus_leaves_the_terminal(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab, puppet: Puppet
) -> None:
    bridge = start_bridge(command=puppet.argv)
    tab, viewer = new_tab(new_context()), new_tab(new_context())
    watch, watched = Watch(tab.page), Watch(viewer.page)
    viewer.open(bridge.control.share("viewer", name="Vi").url)
    tab.open(bridge.link)
    tab.wait_for("puppet-ready")
    tab.page.evaluate("() => navigator.clipboard.writeText('mine')")
    for each in (watch, watched):
        each.begin()
    tab.page.evaluate("() => window.__seen.splice(0)")
    for number, entry in enumerate(CORPUS):
        answers = b"(?:%s)" % entry.answers
        try:
            play_harmless(puppet, tab, watch, bridge.host, number, entry.data, answers)
        except AssertionError as error:
            pytest.fail(f"{entry.name} ({entry.tries}): {error}")
    assert read_clipboard(tab) == "mine"
    # Who watches was shown all of it, too, and has sent nothing.
    wait_until(lambda: f"mark-{len(CORPUS) - 1}-" in viewer.screen()[0], "the same for the viewer")
    watched.check(hosts={bridge.host}, allowed=ALLOWED)
    assert watched.typed == []
    assert tab.state() == viewer.state() == "connected"
    tab.type("still typing")
    wait_until(lambda: tab.state() and (puppet.take() or watch.typed), "keys go on")


@pytest.mark.long
def test_mixtures_of_it_do_not_either(
    start_bridge: StartBridge, new_tab: NewTab, puppet: Puppet
) -> None:
    bridge = start_bridge(command=puppet.argv)
    tab = new_tab()
    watch = open_watched(tab, bridge)
    watch.begin()
    chance = random.Random(20_261_127)
    small = [entry.data for entry in CORPUS if len(entry.data) < 20_000]
    for number in range(60):
        pieces = []
        for data in chance.choices(small, k=chance.randint(2, 25)):
            start = chance.choice((0, 0, 0, chance.randrange(len(data))))
            end = chance.choice((len(data), len(data), chance.randrange(len(data) + 1)))
            pieces.append(data[start:end])
        data, answers = b"".join(pieces), b"(?:%s)*" % ANSWERS
        try:
            play_harmless(puppet, tab, watch, bridge.host, number, data, answers)
        except AssertionError as error:
            pytest.fail(f"mixture {number}: {error}")


@pytest.mark.long
def test_nothing_in_it_leaves_a_terminal_in_tmux(
    start_bridge: StartBridge, tmux: Tmux, new_tab: NewTab, puppet: Puppet
) -> None:
    tmux("new-session", "-d", "-s", "0", shlex.join(puppet.argv))
    bridge = start_bridge()
    tab = new_tab()
    watch = open_watched(tab, bridge)
    tab.page.evaluate("() => navigator.clipboard.writeText('mine')")
    tab.page.evaluate("() => window.__seen.splice(0)")
    watch.begin()
    answers = b"(?:%s|%s)*" % (ANSWERS, TMUX_ANSWERS)
    for number, entry in enumerate(entry for entry in CORPUS if len(entry.data) < 20_000):
        try:
            typed = play_harmless(puppet, tab, watch, bridge.host, number, entry.data, answers)
            assert b64("mine").encode() not in typed
        except AssertionError as error:
            pytest.fail(f"{entry.name} ({entry.tries}): {error}")
    assert read_clipboard(tab) == "mine"
    assert tmux.clients() != []


def test_floods_of_marks_stay_in_small_cells_and_in_their_rows(
    start_bridge: StartBridge, new_tab: NewTab, puppet: Puppet
) -> None:
    bridge = start_bridge(command=puppet.argv)
    tab = new_tab()
    # Without WebGL the terminal is made of elements, which could be drawn anywhere on the page.
    tab.page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    watch = open_watched(tab, bridge)
    assert tab.renderer() == "dom"
    watch.begin()
    bar = tab.page.locator("#bar")
    play(puppet, tab, 0, b"")
    before = steady(bar.screenshot, "a steady bar")  # what it says comes soon, not at once
    for entry in TEXTS:
        puppet.take()
        puppet.print(b"\x1b[H" + entry.data + FENCE)
        wait_until(lambda: FENCE_ANSWER in puppet.typed, entry.name)
        assert 1 <= int(tab.page.evaluate(LARGEST_CELL)) <= 31, entry.name
        watch.check(hosts={bridge.host})
        largest = difference(tab.page, before, bar.screenshot())
        assert largest <= REDRAWN, f"{entry.name} is drawn over the bar"


def test_a_program_copies_after_a_key_and_asks_otherwise(
    start_bridge: StartBridge, new_context: NewContext, new_tab: NewTab, puppet: Puppet
) -> None:
    bridge = start_bridge(command=puppet.argv)
    tab, viewer = new_tab(new_context()), new_tab(new_context())
    watch, watched = Watch(tab.page), Watch(viewer.page)
    viewer.open(bridge.control.share("viewer", name="Vi").url)
    tab.open(bridge.link)
    tab.wait_for("puppet-ready")
    watch.begin()
    watched.begin()
    puppet.print(osc(f"52;c;{b64('unasked')}"))
    offer = tab.page.get_by_role("button", name="Copy", exact=True)
    offer.wait_for()
    assert [one for one in watch.seen()["seen"] if one[0] != "added"] == []
    offer.click()
    wait_until(lambda: read_clipboard(tab) == "unasked", "the text is copied by the button")
    tab.type("y")
    puppet.print(osc(f"52;c;{b64('asked for')}"))
    wait_until(lambda: read_clipboard(tab) == "asked for", "the text is copied after a key")
    # Keys of somebody who only watches were for no copy.
    viewer.type("y")
    puppet.print(osc(f"52;c;{b64(COMMAND)}"))
    viewer.page.get_by_role("button", name="Copy", exact=True).wait_for()
    assert [one for one in watched.seen()["seen"] if one[0] != "added"] == []


def test_a_paste_cannot_end_itself(
    start_bridge: StartBridge, new_tab: NewTab, puppet: Puppet
) -> None:
    bridge = start_bridge(command=puppet.argv)
    tab = new_tab().open(bridge.link)
    tab.wait_for("puppet-ready")
    hostile = f"ls\x1b[201~\r{COMMAND}\x9b201~\x1b[200~"
    play(puppet, tab, 0, b"")
    puppet.print(b"\x1b[?2004h\x1b[5n")
    wait_until(lambda: puppet.take() == FENCE_ANSWER, "pastes are told apart")
    tab.paste(hostile)
    wait_until(lambda: puppet.typed.count(b"\x1b[201~") > 0, "the end of the paste")
    start, _, rest = puppet.typed.partition(b"\x1b[201~")
    assert rest == b""
    assert start.startswith(b"\x1b[200~ls\xe2\x90\x9b[201~\rtouch")
    assert b"\x9b201~" not in start.replace(b"\xe2\x90\x9b", b"")
    # Once the program has switched it off, a paste is typed as it is, as in every terminal.
    puppet.take()
    puppet.print(b"\x1b[?2004l" + FENCE)
    wait_until(lambda: puppet.take() == FENCE_ANSWER, "pastes are not told apart")
    tab.paste("plain")
    wait_until(lambda: puppet.typed == b"plain", "a plain paste")
