"""Notebooks executed by a real kernel: magics, environment, the shared pane, the examples."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloudflared import install_fake_cloudflared
from tests.conftest import ROOT, Tmux, wait_until
from tests.notebooks import (
    Notebooks,
    calls_of,
    is_gone,
    made_notebooks,
    needs_jupyter,
    tmux_of_kernels,
)

pytestmark = [needs_jupyter, pytest.mark.slow]

TOKEN = "R7xk2-Qm9fLw0_ab"

INTERRUPT = """\
import os, signal, threading, time
def interrupt():
    while not os.path.exists("begun"):
        time.sleep(0.02)
    os.killpg(0, signal.SIGINT)  # what a Jupyter server does
threading.Thread(target=interrupt).start()
"""


@pytest.fixture
def notebooks(tmp_path: Path, short_path: Path) -> Iterator[Notebooks]:
    with made_notebooks(tmp_path, short_path) as made:
        yield made


@pytest.fixture
def kernel_tmux(short_path: Path) -> Iterator[Tmux]:
    with tmux_of_kernels(short_path) as server:
        yield server


def new_window_sees(tmux: Tmux, name: str, folder: Path) -> str:
    """Return a variable's value in a new window, `-` when it has none."""
    file = folder / f"seen-{name}"
    tmux("new-window", "-d", f'printf %s "${{{name}--}}" >{file}.new; mv {file}.new {file}')
    wait_until(file.exists, "the new window has run")
    text = os.fsdecode(file.read_bytes())
    file.unlink()
    return text


def test_a_notebook_from_the_first_cell_to_the_next_kernel(
    notebooks: Notebooks, kernel_tmux: Tmux
) -> None:
    notebooks.env |= {"TTYBRIDGE_TOKEN": TOKEN, "GOES": "1", "OUTER": "from the server"}
    first = notebooks.write(
        "first.ipynb",
        [
            "%load_ext ttybridge",
            "%ttybridge status",
            "%ttybridge --prot 1 --ngrok-tcp",
            "%ttybridge --ngrok",
            "%ttybridge --port 0",
            "import os\nos.environ['NEW'] = 'a \\udcff\\n\"b\"'\ndel os.environ['GOES']",
            "%ttybridge env",
            "%%tty\necho \"$OUTER\"; sh -c 'exit 3'",
            "print(_exit_code, _.status, repr(_.output))",
            "%%tty said\necho one\necho two",
            "said.output, said.status",
            INTERRUPT,
            "%%tty\necho begun; touch begun; sleep 1000; echo never",
            "print(_exit_code)",
            "%%tty not a name\necho no",
            "%ttybridge env off",
            "os.environ['LATER'] = '1'",
            "%ttybridge --ssh",
            "%ttybridge link",
            "%ttybridge status",
        ],
    )
    shown = dict(enumerate(notebooks.execute(first)))
    assert shown[0] == ""
    assert shown[1] == "No bridge runs here. %ttybridge starts one.\n"
    assert "no option --prot. Did you mean --port?" in shown[2]
    assert "--ngrok-tcp has no effect without --ngrok" in shown[2]
    assert "ngrok needs an authtoken" in shown[3]  # and nobody could be asked
    page = re.search(r"Link: (http://127\.0\.0\.1:\d+/)\?link=[\w.-]{20,}\n", shown[4])
    assert page, shown[4]
    assert "within 10 minutes" in shown[4]
    assert "Set last: NEW\nRemoved last: GOES\n" in shown[6]
    assert shown[7] == "from the server\nexit status 3.\n"
    assert shown[8] == "3 3 'from the server\\n'\n"
    assert shown[9] == "one\ntwo\n"
    assert shown[10] == "('one\\ntwo\\n', 0)"
    assert "begun\n" in shown[12]
    assert "Interrupted: exit status 130." in shown[12]
    assert "never" not in shown[12]
    assert shown[13] == "130\n"
    assert "is not the name of a variable" in shown[14]
    assert "not sent" in shown[15]
    assert "It runs already, with other options: %ttybridge stop first" in shown[17]
    assert re.fullmatch(re.escape(page[1]) + r"\?link=[\w.-]{20,}\n", shown[18])
    assert f"Local: {page[1]}\n" in shown[19]

    # The kernel is gone, and the bridge is not.
    (pid,) = notebooks.bridges()
    assert os.getsid(pid) == pid
    saved = first.read_text()
    assert TOKEN not in saved
    assert "?token=" not in saved
    assert new_window_sees(kernel_tmux, "NEW", notebooks.folder) == 'a \udcff\n"b"'
    assert new_window_sees(kernel_tmux, "GOES", notebooks.folder) == "-"
    assert new_window_sees(kernel_tmux, "LATER", notebooks.folder) == "-"
    assert new_window_sees(kernel_tmux, "TTYBRIDGE_TOKEN", notebooks.folder) == "-"

    notebooks.env["OUTER"] = "from the next server"
    second = notebooks.write(
        "second.ipynb",
        [
            "%load_ext ttybridge",
            "%ttybridge",
            "%%tty\necho still here",
            "%reload_ext ttybridge",
            "%ttybridge stop",
            "%ttybridge stop",
            "%%tty\necho no",
        ],
    )
    shown = dict(enumerate(notebooks.execute(second)))
    assert shown[0] == "A bridge of this notebook runs already: %ttybridge shows it.\n"
    assert shown[2] == "still here\n"
    assert shown[4].startswith("Stopped; the tmux session lives on")
    assert shown[5] == shown[6] == "No bridge runs here. %ttybridge starts one.\n"
    assert notebooks.bridges() == []
    assert is_gone(pid)
    assert new_window_sees(kernel_tmux, "OUTER", notebooks.folder) == "from the next server"


def test_a_label_keeps_a_bridge_apart_and_finds_it_again(
    notebooks: Notebooks, kernel_tmux: Tmux
) -> None:
    load = "%load_ext ttybridge"
    start = ["%ttybridge --port 0", "%ttybridge --port 0 --label other"]
    outputs = notebooks.execute(notebooks.write("labels.ipynb", [load, *start]))
    both = notebooks.bridges()
    assert len(both) == 2
    assert "It runs already" not in "".join(outputs)
    again = [
        "%ttybridge --label other",
        "%ttybridge stop",
        "%%tty gone\necho",
        "'gone' in globals()",
    ]
    outputs = notebooks.execute(notebooks.write("labels.ipynb", [load, *again]))
    assert "It runs already" in outputs[1]
    (left,) = notebooks.bridges()
    assert left in both
    assert "No bridge runs here" in outputs[3]
    assert outputs[4] == "False"


def test_what_showed_a_bridge_is_taken_back_when_it_stops(notebooks: Notebooks) -> None:
    cells = ["%load_ext ttybridge", "%ttybridge -p0 -- cat", "%ttybridge", "%ttybridge stop"]
    path = notebooks.write("taken.ipynb", cells)
    shown = notebooks.execute(path)
    assert shown[1] == "The bridge was stopped. Run the cell again to start it."
    assert shown[2] == f"It runs already.\n{shown[1]}"
    assert "link=" not in path.read_text()


def test_the_colab_example_runs_from_its_first_cell_to_its_last(
    notebooks: Notebooks, kernel_tmux: Tmux, tmp_path: Path
) -> None:
    calls = notebooks.stand_in_for_colab()
    cloudflared = install_fake_cloudflared(tmp_path / "cloudflared")
    notebooks.env["PATH"] = cloudflared.env["PATH"]
    path = notebooks.copy(ROOT / "examples" / "colab.ipynb", without_tag="install")
    shown = "\n".join(notebooks.execute(path))
    noted = calls_of(calls)
    assert noted[0] == ["register_callback", "ttybridge.stop"]
    frames = [call for call in noted if call[0] == "serve_kernel_port_as_iframe"]
    asked = [call for call in noted if call[0] == "eval_js"]
    assert len(frames) == len(asked) == 2
    for (_, script, _), (_, port, where, *_) in zip(asked, frames, strict=True):
        assert script == f"google.colab.kernel.proxyPort({port})"
        assert re.fullmatch(r"/\?link=[\w.-]{20,}", where)
    assert "Set last: EXPERIMENT" in shown
    assert "status: 0" in shown
    assert re.search(r"Public: https://fake-\d+\.trycloudflare\.com \(cloudflared, open\)", shown)
    assert "SSH: ssh -p" in shown
    assert notebooks.bridges() == []
    wait_until(
        lambda: "EXPERIMENT is 42" in kernel_tmux.screen("=0:.1"), "the new pane shows the variable"
    )


@pytest.mark.long
def test_the_kaggle_example_runs_from_its_first_cell_to_its_last(
    notebooks: Notebooks, kernel_tmux: Tmux, tmp_path: Path
) -> None:
    cloudflared = install_fake_cloudflared(tmp_path / "cloudflared")
    notebooks.env |= {"PATH": cloudflared.env["PATH"], "KAGGLE_KERNEL_RUN_TYPE": "Interactive"}
    path = notebooks.copy(ROOT / "examples" / "kaggle.ipynb", without_tag="install")
    shown = "\n".join(notebooks.execute(path))
    assert "Set last: EXPERIMENT" in shown
    assert "status: 0" in shown
    assert re.search(r"Public: https://fake-\d+\.trycloudflare\.com", shown)
    assert notebooks.bridges() == []
    without = notebooks.write("without.ipynb", ["%load_ext ttybridge", "%ttybridge"])
    assert "Add a tunnel: %ttybridge --cloudflared" in notebooks.execute(without)[1]
