"""Predictions in a real browser: what is typed on a slow line is seen at once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.conftest import StartBridge, wait_until
from tests.page.conftest import NewContext, NewTab
from tests.page.network import Cable
from tests.page.tab import Tab

pytestmark = pytest.mark.browser

NewCable = Callable[..., Cable]

ROUND_TRIP_S = 0.2

BEFORE_ANSWER_MS = 100
"""When a key counts as seen before its answer: half of a round trip. How soon it is seen, the
recorded sessions tell by a clock of their own (static/test), and `make bench`."""

KEY_EVERY_MS = 90

WATCH = """() => {
  const { terminal } = window.ttybridge, seen = {};
  const waiting = [];
  let typed = "";
  document.addEventListener("keydown", ({ key }) => {
    if (key.length !== 1) return;
    typed += key;
    waiting.push({ at: performance.now(), typed });
  }, { capture: true });
  const look = (left) => {
    const { active } = terminal.buffer, rows = [];
    for (let y = 0; y < terminal.rows; y++) {
      const line = active.getLine(active.baseY + y)?.translateToString(false) ?? "";
      rows.push([...line.padEnd(terminal.cols)]);
    }
    const spans = [...document.querySelectorAll(".prediction span")];
    for (const span of spans) {
      const [x, y] = [parseFloat(span.style.left), parseFloat(span.style.top)];
      const row = Math.round((y * terminal.rows) / 100);
      const col = Math.round((x * terminal.cols) / 100);
      rows[row][col] = span.textContent;
    }
    const text = rows[active.cursorY].join("");
    while (waiting.length > 0 && text.startsWith("$ " + waiting[0].typed)) {
      const { at, isStalled } = waiting.shift();
      if (isStalled) seen.stalled += 1;
      else seen.keys.push(performance.now() + left - at);
    }
    const isMarked = (span) => getComputedStyle(span).textDecorationLine === "underline";
    const marked = spans.filter(isMarked);
    seen.guesses = Math.max(seen.guesses, spans.length);
    seen.marked = Math.max(seen.marked, marked.length);
    if (marked.length > 0) seen.text += "|" + marked.map((span) => span.textContent).join("");
  };
  let last = performance.now();
  const frame = () => {
    const now = performance.now();
    // The machine is busy with something else: the browser itself comes late.
    if (now - last > 50) {
      for (const key of waiting) if (now - key.at < now - last) key.isStalled = true;
    }
    last = now;
    look(0);
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  // What is in the document now is on the screen with the next frame, unless the machine is busy.
  const observer = new MutationObserver(() => look(1000 / 60));
  observer.observe(document.querySelector(".xterm-screen"), { childList: true, subtree: true });
  window.seen = seen;
  window.startTyping = () => {
    typed = "";
    waiting.length = 0;
    Object.assign(seen, { keys: [], stalled: 0, guesses: 0, marked: 0, text: "" });
  };
}"""
"""Notes when each typed key is on the screen, in its buffer or drawn over it: at each frame, and
with the time that is left to one, at each change of what is drawn. Keys in whose time the browser
draws nothing at all for 50 ms are counted apart."""


def watch(tab: Tab) -> None:
    """Begin to note what is seen."""
    tab.page.evaluate(WATCH)
    start_typing(tab)


def start_typing(tab: Tab) -> None:
    """Begin a new text; what was noted is forgotten."""
    tab.page.evaluate("() => window.startTyping()")


def seen(tab: Tab) -> dict[str, Any]:
    """Return what was noted: times in milliseconds, most cells at a time, underlined texts."""
    return dict(tab.page.evaluate("() => window.seen"))


def has_no_guesses(tab: Tab) -> bool:
    """Tell whether nothing that is guessed is shown."""
    return guesses(tab) == ""


def is_seen(tab: Tab, count: int) -> bool:
    """Tell whether so many keys have been seen."""
    noted = seen(tab)
    return bool(len(noted["keys"]) + noted["stalled"] == count)


def is_on(tab: Tab) -> bool:
    """Tell whether the page predicts now."""
    return bool(
        tab.page.evaluate("() => document.querySelector('#terminal').dataset.prediction === 'on'")
    )


def guesses(tab: Tab) -> str:
    """Return what is drawn over the screen."""
    return str(tab.page.evaluate("() => document.querySelector('.prediction')?.textContent ?? ''"))


def type_slowly(tab: Tab, text: str) -> None:
    """Type as a person does."""
    tab.page.keyboard.type(text, delay=KEY_EVERY_MS)


def open_far_away(
    start_bridge: StartBridge, new_cable: NewCable, tab: Tab, *command: str, choice: str = ""
) -> None:
    """Open a session over a slow line: tmux, or a command."""
    bridge = start_bridge("--allow-host", "127.0.0.1", command=command)
    cable = new_cable(bridge.port, round_trip_s=ROUND_TRIP_S)
    if choice:
        tab.page.add_init_script(f"localStorage.setItem('ttybridge.prediction', '{choice}')")
    tab.open(cable.link(bridge.link))
    tab.wait_for(r"\$")
    wait_until(lambda: is_on(tab), "predictions are asked for, or the line is known to be slow")
    watch(tab)


def test_predictions_are_off_on_a_fast_line_however_busy_the_machine_was(
    start_bridge: StartBridge, new_tab: NewTab
) -> None:
    tab = new_tab().open(start_bridge().link)
    watch(tab)

    def is_off() -> bool:
        tab.run("echo $((6 * 7))")
        return not is_on(tab)

    def shows_none() -> bool:
        start_typing(tab)
        tab.run("echo $((6 * 8))")
        tab.wait_for("^48$")
        return bool(seen(tab)["guesses"] == 0)

    wait_until(is_off, "some of the keys were answered in less than 20 ms")
    tab.wait_for("^42$")
    wait_until(shows_none, "a line without a prediction, where the machine leaves it alone")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param((), id="tmux", marks=pytest.mark.long),
        pytest.param(("bash",), id="direct", marks=pytest.mark.long),
    ],
)
def test_at_200_ms_what_is_typed_at_a_prompt_is_seen_at_once_and_then_confirmed(
    start_bridge: StartBridge, new_cable: NewCable, new_tab: NewTab, command: tuple[str, ...]
) -> None:
    tab = new_tab()
    open_far_away(start_bridge, new_cable, tab, *command)
    times: list[float] = []
    stalled = 0
    for number in range(4):
        text = f"echo $((1000 + {number})) # what a person types"
        start_typing(tab)
        type_slowly(tab, text)
        tab.wait_until(partial(is_seen, tab, len(text)), lambda: f"all keys: {seen(tab)}")
        times += seen(tab)["keys"]
        stalled += seen(tab)["stalled"]
        assert seen(tab)["marked"] >= 1, "typed characters are underlined"
        wait_until(lambda: guesses(tab) == "", "everything is confirmed")
        tab.wait_for(
            r"\$ .*" + text.replace("$((", r"\$\(\(").replace("+", r"\+").replace("))", r"\)\)")
        )
        tab.press("Enter")
        tab.wait_for(f"^{1000 + number}$")
    share = sum(time <= BEFORE_ANSWER_MS for time in times) / len(times)
    assert len(times) >= 2 * stalled, "the machine is too busy to measure anything"
    assert share >= 0.6, f"{share:.1%} of {len(times)} keys before the answer: {times}"
    assert max(times) > 1000 * ROUND_TRIP_S * 0.5, "the line was fast: this tests nothing"


def test_a_password_is_never_shown(
    start_bridge: StartBridge, new_cable: NewCable, new_tab: NewTab
) -> None:
    tab = new_tab()
    open_far_away(start_bridge, new_cable, tab, choice="on")
    type_slowly(tab, "read -s -p 'Password: ' x; echo got ${#x}")
    assert seen(tab)["marked"] >= 1, "predictions work before"
    tab.press("Enter")
    tab.wait_for("^Password:$")
    start_typing(tab)
    type_slowly(tab, "correct horse")
    tab.press("Enter")
    tab.wait_for("got 13$")
    assert seen(tab)["text"] == ""
    assert seen(tab)["guesses"] == 0


@pytest.mark.long
def test_what_the_program_draws_instead_is_shown_and_nothing_else_remains(
    start_bridge: StartBridge, new_cable: NewCable, new_tab: NewTab
) -> None:
    script = (
        "import sys, tty; tty.setraw(0); sys.stdout.write('$ '); sys.stdout.flush()\n"
        "for n in range(16): c = sys.stdin.read(1); sys.stdout.write(c if n < 10 else '?'); "
        "sys.stdout.flush()\n"
        "sys.stdin.read()"
    )
    for _ in range(3):  # on a busy machine, the browser may draw no frame while it is shown
        tab = new_tab()
        open_far_away(start_bridge, new_cable, tab, "python3", "-u", "-c", script, choice="on")
        type_slowly(tab, "abcdefghijklmnop")
        tab.wait_for(r"^\$ abcdefghij\?{6}$")
        wait_until(partial(has_no_guesses, tab), "what was wrong is gone")
        if "k" in seen(tab)["text"]:
            return
    pytest.fail("no wrong guess was ever shown, so this tests nothing")


@pytest.mark.long
def test_what_was_guessed_is_gone_when_the_connection_is_lost(
    start_bridge: StartBridge, new_cable: NewCable, new_tab: NewTab
) -> None:
    bridge = start_bridge("--allow-host", "127.0.0.1")
    cable = new_cable(bridge.port, round_trip_s=ROUND_TRIP_S)
    tab = new_tab()
    tab.page.add_init_script("localStorage.setItem('ttybridge.prediction', 'on')")
    tab.open(cable.link(bridge.link)).wait_for(r"\$")
    wait_until(lambda: is_on(tab), "the round trip is known")
    watch(tab)
    type_slowly(tab, "echo abcd")
    wait_until(lambda: seen(tab)["marked"] > 0, "guesses are shown")
    cable.hold()
    tab.type("efgh")
    wait_until(lambda: "efgh" in guesses(tab), "what is under way is shown")
    cable.cut(refuse=True)
    tab.wait_for_state("reconnecting")
    assert guesses(tab) == ""
    assert not is_on(tab)
    cable.mend()
    tab.wait_for_state("connected")
    tab.wait_for("echo abcdefgh$")
    assert guesses(tab) == ""


@pytest.mark.long
def test_the_setting_is_kept_and_switches_predictions_off_and_on(
    start_bridge: StartBridge, new_cable: NewCable, new_tab: NewTab
) -> None:
    tab = new_tab()
    open_far_away(start_bridge, new_cable, tab)
    for choice, kept in (("off", "off"), ("on", "on"), ("auto", None)):
        tab.page.click("#settings-open")
        tab.page.select_option("#prediction-choice", choice)
        tab.page.click("#settings-close")
        tab.page.wait_for_function("() => document.activeElement?.closest('#terminal')")
        assert is_on(tab) == (choice != "off")
        assert tab.page.evaluate("() => localStorage.getItem('ttybridge.prediction')") == kept
        start_typing(tab)
        type_slowly(tab, f"echo this is {choice}")
        tab.wait_for(f"this is {choice}$")
        tab.press("Enter")
        tab.wait_for(f"^this is {choice}$")
        assert (seen(tab)["guesses"] > 0) == (choice != "off")


def test_who_only_watches_sees_no_predictions(
    start_bridge: StartBridge, new_cable: NewCable, new_context: NewContext, new_tab: NewTab
) -> None:
    bridge = start_bridge("--allow-host", "127.0.0.1")
    cable = new_cable(bridge.port, round_trip_s=ROUND_TRIP_S)
    viewer = new_tab(new_context())
    viewer.page.add_init_script("localStorage.setItem('ttybridge.prediction', 'on')")
    viewer.open(cable.link(bridge.control.share("viewer").url))
    viewer.wait_for(r"\$")
    watch(viewer)
    type_slowly(viewer, "echo hello")
    assert not is_on(viewer)
    assert seen(viewer)["guesses"] == 0
    viewer.page.click("#settings-open")
    assert viewer.page.is_hidden("#prediction-row")
