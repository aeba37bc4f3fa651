"""The commands about bridges that run: `ttybridge status` and `ttybridge link`."""

import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Set
from typing import TextIO

from ttybridge.adapters.rundir import bases
from ttybridge.client.control import Control, find
from ttybridge.client.status import Status
from ttybridge.config import Config
from ttybridge.core.banner import duration
from ttybridge.core.limits import Use
from ttybridge.errors import TtyBridgeError


def status(
    config: Config, environment: Mapping[bytes, bytes], switches: Set[str], out: TextIO
) -> int:
    """Print what runs.

    Args:
        config: The options; a label chooses.
        environment: The environment, which says where to look.
        switches: `--json`.
        out: Where to.

    Returns:
        The exit status: 1 when nothing runs.
    """
    found = [each for _, each in _chosen(config, environment)]
    if "--json" in switches:
        out.write(json.dumps([dataclasses.asdict(each) for each in found], indent=2) + "\n")
    elif not found:
        out.write(_nothing(config) + "\n")
    else:
        out.write("\n".join(_text(each) for each in found))
    return 0 if found else 1


def link(config: Config, environment: Mapping[bytes, bytes], flags: Set[str], out: TextIO) -> int:
    """Print a new link to the one bridge that runs, or that has the label.

    Args:
        config: The options; a label chooses.
        environment: The environment, which says where to look.
        flags: Names of the options that were given as flags.
        out: Where to.

    Raises:
        TtyBridgeError: None or several run.
    """
    control = one_bridge(config, environment)
    # What is not said is as the bridge was told.
    made = control.link(
        life_s=config.link_life_s if "link_life_s" in flags else None,
        uses=config.link_uses if "link_uses" in flags else None,
    )
    out.write(made.url + "\n")
    out.flush()
    show_qr(config, made.url)
    return 0


def one_bridge(
    config: Config,
    environment: Mapping[bytes, bytes],
    *,
    hint: str = "Start one: ttybridge.",
) -> Control:
    """Return the control socket of the one bridge that runs, or that a label chooses.

    Args:
        config: The options; the label may also be the bridge's process number or port.
        environment: The environment, which says where to look.
        hint: What to do where none runs.

    Raises:
        TtyBridgeError: None or several run.
    """
    found = _chosen(config, environment)
    if not found:
        raise TtyBridgeError(_nothing(config), hint=hint)
    if len(found) > 1:
        labels = ", ".join(
            f"{each.label or 'without a label'} (process {each.pid}, port {each.port})"
            for _, each in found
        )
        raise TtyBridgeError(
            f"{len(found)} bridges run: {labels}.",
            hint="Choose one: --label NAME, or its process number or port.",
        )
    return found[0][0]


def show_qr(config: Config, url: str) -> None:
    """Show an address as a QR code, where somebody looks and wants it."""
    if config.qr and sys.stderr.isatty():
        from ttybridge.qr import qr_text

        sys.stderr.write(qr_text(url))


def _chosen(config: Config, environment: Mapping[bytes, bytes]) -> list[tuple[Control, Status]]:
    found = find(bases(environment))
    label = config.label
    named = [each for each in found if not label or each[1].label == label]
    return named or [each for each in found if label in (str(each[1].pid), str(each[1].port))]


def _nothing(config: Config) -> str:
    what = "label, process number or port" if config.label.isdecimal() else "label"
    labelled = f" with the {what} {config.label!r}" if config.label else ""
    return f"No bridge of yours{labelled} runs on this machine."


def _name(each: Status) -> str:
    return f"{each.label or 'without a label'} (process {each.pid})"


def _near(use: Use) -> str:
    how = f" ({use.option})" if use.option else ""
    return f"{use.name.replace('_', ' ')}: {use.in_use:g} of {use.limit:g}{how}"


def _text(each: Status) -> str:
    age_s = max(0, int(time.time() - each.started_at) // 60 * 60)
    since = f"for {duration(age_s)}" if age_s else "just started"
    clients = "1 client" if each.clients == 1 else f"{each.clients} clients"
    rows = [
        ("bridge", f"{_name(each)}, {since}, {clients}"),
        ("shares", f"{each.session} ({each.mode})"),
        ("address", each.address),
    ]
    if each.tunnel:
        rows += [(f"{each.tunnel.name}, {each.tunnel.state}", url) for url in each.tunnel.urls]
    if each.ssh:
        rows.append(("ssh", f"{each.ssh.command}  ({each.ssh.fingerprint})"))
    if each.proxy:
        rows.append(("proxied ports", ", ".join(map(str, each.proxy))))
    rows += [("near its limit", _near(use)) for use in each.limits if use.is_near]
    return "".join(f"{name:<20} {value}\n" for name, value in rows)
