"""Options, and how flags, variables, the file and defaults become one configuration."""

import doctest
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ttybridge import arguments, config, manual, options, readers, settings, subcommands, tokens
from ttybridge.advice import advice
from ttybridge.config import Config
from ttybridge.errors import ConfigError
from ttybridge.model import Mode
from ttybridge.options import Group, Kind
from ttybridge.settings import OPTIONS, ConfigFile, resolve

TOKEN = "R7xk2-Qm9fLw0_ab"
SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDwlKk+ZLkaPvaNqY00ZFXsoHyWM6XB+KCQuUHr5Vbzu me"
ROOT = Path(__file__).resolve().parents[2]


def made(
    argv: list[str] | None = None,
    environ: dict[str, str] | None = None,
    toml: str | None = None,
    **others: Any,
) -> Config:
    """Resolve a command line, an environment and the text of a file."""
    given = arguments.parse(argv or [])
    file = None if toml is None else ConfigFile(Path("/etc/t.toml"), toml)
    others.setdefault("is_directory", lambda path: False)
    return resolve(given.flags, environ or {}, file, problems=given.problems, **others)


def problems(
    argv: list[str] | None = None,
    environ: dict[str, str] | None = None,
    toml: str | None = None,
    **others: Any,
) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        made(argv, environ, toml, **others)
    assert caught.value.exit_code == 2
    return caught.value.problems


@pytest.mark.parametrize("module", [options, readers, settings, tokens, config, arguments])
def test_the_examples_in_docstrings_are_true(module: Any) -> None:
    assert doctest.testmod(module).failed == 0


def test_without_anything_given_the_defaults_hold() -> None:
    assert made() == Config(cwd=Path())


@pytest.mark.parametrize(
    ("argv", "environ", "toml", "port"),
    [
        ([], {}, None, None),
        ([], {}, "port = 1003", 1003),
        ([], {"TTYBRIDGE_PORT": "1002"}, None, 1002),
        ([], {"TTYBRIDGE_PORT": "1002"}, "port = 1003", 1002),
        (["--port", "1001"], {}, None, 1001),
        (["--port", "1001"], {}, "port = 1003", 1001),
        (["-p1001"], {"TTYBRIDGE_PORT": "1002"}, None, 1001),
        (["--port=1001"], {"TTYBRIDGE_PORT": "1002"}, "port = 1003", 1001),
        (["--port", "1", "--port", "1001"], {}, None, 1001),
        ([], {"TTYBRIDGE_PORT": ""}, "port = 1003", 1003),
    ],
)
def test_flags_win_over_variables_over_the_file_over_defaults(
    argv: list[str], environ: dict[str, str], toml: str | None, port: int | None
) -> None:
    assert made(argv, environ, toml).port == port


@pytest.mark.parametrize(
    ("argv", "environ", "toml", "exclusive", "clipboard"),
    [
        ([], {}, None, False, True),
        (["--exclusive", "--no-clipboard"], {}, None, True, False),
        (["--no-exclusive", "--clipboard"], {}, "exclusive = true\nclipboard = false", False, True),
        ([], {"TTYBRIDGE_EXCLUSIVE": "yes", "TTYBRIDGE_CLIPBOARD": "0"}, None, True, False),
        ([], {"TTYBRIDGE_EXCLUSIVE": "off"}, "exclusive = true", False, True),
        ([], {}, "exclusive = true\nclipboard = false", True, False),
    ],
)
def test_switches_are_turned_on_and_off_by_every_source(
    argv: list[str], environ: dict[str, str], toml: str | None, exclusive: bool, clipboard: bool
) -> None:
    config = made(argv, environ, toml)
    assert (config.exclusive, config.clipboard) == (exclusive, clipboard)


@pytest.mark.parametrize(
    ("argv", "environ", "toml"),
    [
        (["--allow-host", "A", "--allow-host=b:81"], {}, None),
        (["--allow-host", "a,b:81"], {"TTYBRIDGE_ALLOW_HOST": "c"}, None),
        ([], {"TTYBRIDGE_ALLOW_HOST": "a, b:81,a"}, None),
        ([], {}, 'allow_host = ["a", "b:81"]'),
        ([], {}, 'allow_host = "a,b:81"'),
    ],
)
def test_lists_come_from_repeated_flags_commas_and_arrays(
    argv: list[str], environ: dict[str, str], toml: str | None
) -> None:
    assert made(argv, environ, toml).allow_host == ("a", "b:81")


NEEDED = {
    "ngrok_tcp": ["--ngrok", "--ssh"],
    "ngrok_domain": ["--ngrok"],
    "ngrok_oauth": ["--ngrok"],
    "ngrok_allow": ["--ngrok", "--ngrok-oauth=google"],
    "ngrok_basic_auth": ["--ngrok"],
    "tunnel_url": ["--tunnel=ssh:h/80"],
    "tunnel_host_key": ["--tunnel=ssh:h"],
}
"""Other flags without which a flag has no effect; variables and files may stand alone."""


def test_every_option_can_be_given_by_every_source_it_declares() -> None:
    samples = {
        "host": "::1", "port": "81", "base_path": "/a", "allow_host": "h", "trusted_proxy": "::1",
        "allow_frame": "https://h", "token_file": "/t", "no_auth": "1",
        "approve": "1", "lock": "1", "audit_log": "/a", "session": "s",
        "socket_name": "n", "socket_path": "/s", "tmux": "/t", "cwd": "/", "exclusive": "1",
        "container": "c", "container_engine": "podman", "clipboard": "0", "wait": "1",
        "ssh": "1", "authorized_keys": "/k", "ssh_key": SSH_KEY,
        "github_user": "octocat:read-only",
        "ssh_shell": "1", "ssh_host": "::1", "ssh_port": "82", "state_dir": "/d",
        "ssh_forwarding": "0", "ssh_agent": "0", "ssh_sftp": "0", "max_ssh": "7",
        "github_url": "https://git.example", "sshd": "/s",
        "ngrok": "1", "cloudflared": "1", "tunnel": "ssh:me@h", "ngrok_tcp": "1",
        "ngrok_domain": "a.example", "ngrok_oauth": "google", "ngrok_allow": "@a.example",
        "ngrok_basic_auth": "/b", "tunnel_url": "https://h", "tunnel_host_key": SSH_KEY,
        "link_life_s": "2m", "link_uses": "3", "proxy": "6006-6010", "qr": "0", "label": "x",
        "record": "/r.cast", "record_dir": "/r", "record_format": "v3", "record_input": "1",
        "record_limit_bytes": "1M", "max_clients": "7", "max_viewers": "9", "resume_s": "2m",
        "backlog_bytes": "1M", "window_bytes": "64K",
        "join_timeout_s": "3", "max_handshakes": "7", "max_pending": "77",
        "max_message_bytes": "1M", "head_timeout_s": "3", "body_timeout_s": "3", "log_lines": "3",
        "metrics": "1",
        "record_total_bytes": "1M", "quiet": "1", "open": "1", "verbose": "2", "config_file": "/c",
    }  # fmt: skip
    assert samples.keys() == {option.name for option in OPTIONS} - {"command"}
    for option in OPTIONS:
        if option.kind is Kind.COMMAND:
            continue
        text = samples[option.name]
        if option.kind is Kind.SWITCH:
            argv, literal = [option.flag], "true" if text == "1" else "false"
        elif option.kind is Kind.COUNT:
            argv, literal = [option.flag, option.short], text
        else:
            argv, literal = [option.flag, text], f'"{text}"'
        argv += NEEDED.get(option.name, [])
        if option.group is Group.SSH and option.name != "ssh":
            argv.append("--ssh")
        if option.name == "wait":
            argv += ["--", "htop"]
        others: dict[str, Any] = {
            "read_token": lambda path: TOKEN,
            "is_directory": lambda path: True,
        }
        results = [made(argv, **others), made([], {option.variable: text}, **others)]
        if option.key:
            results.append(made([], {}, f"{option.key} = {literal}", **others))
        values = [getattr(config, option.name) for config in results]
        assert values[0] not in (option.default, None), option.name
        assert all(value == values[0] for value in values), option.name


def test_no_two_options_share_a_flag_a_variable_or_a_key() -> None:
    names = [
        name
        for option in OPTIONS
        for name in (option.on_flag, option.off_flag, option.short, option.variable, option.key)
        if name
    ]
    assert [name for name, count in Counter(names).items() if count > 1] == []


def test_the_defaults_that_are_described_are_the_defaults() -> None:
    for option in OPTIONS:
        if option.group is Group.LIMITS and option.default_text:
            assert option.parse(option.default_text) == option.default, option.name
        if isinstance(option.default, str) and option.kind is Kind.VALUE and option.default:
            assert option.parse(option.default) == option.default


def test_everything_wrong_is_reported_at_once() -> None:
    found = problems(
        ["--prot", "9", "--port", "99999", "--session=a:b", "--max-clients", "0", "bash"],
        {"TTYBRIDGE_HOSTS": "x", "TTYBRIDGE_WINDOW": "1T"},
        'allow_hosts = ["x"]\nclipboard = "maybe"',
    )
    text = "\n".join(found)
    assert len(found) == 9
    for part in (
        "no option --prot. Did you mean --port?",
        "--port '99999': give a port, a whole number from 0 to 65535.",
        "--session 'a:b': a session name has no ':'",
        "--max-clients '0'",
        "ttybridge -- bash",
        "no variable TTYBRIDGE_HOSTS. Did you mean TTYBRIDGE_HOST?",
        "TTYBRIDGE_WINDOW '1T': give a size from 64K to 64M",
        "no setting 'allow_hosts'. Did you mean allow_host?",
        "clipboard in /etc/t.toml: 'maybe': give true or false.",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["--host", "a b"], "--host"),
        (["--host", "1.2.3.400"], "--host"),
        (["--host", "-x-"], "--host"),
        (["--port", "-1"], "--port"),
        (["--port", "٣"], "--port"),
        (["--port", "8080.0"], "--port"),
        (["--port"], "--port needs a value"),
        (["--port", "--open"], "--port needs a value"),
        (["--quiet=1"], "--quiet takes no value"),
        (["--base-path", "tty"], "--base-path"),
        (["--base-path", "/a/../b"], "--base-path"),
        (["--base-path", "//evil.example"], "--base-path"),
        (["--allow-host", "*"], "--allow-host"),
        (["--allow-host", "http://h"], "--allow-host"),
        (["--allow-host", "h:99999"], "--allow-host"),
        (["--trusted-proxy", "proxy"], "--trusted-proxy"),
        (["--allow-frame", "*"], "--allow-frame"),
        (["--allow-frame", "https://h/path"], "--allow-frame"),
        (["--allow-frame", "https://h; script-src *"], "--allow-frame"),
        (["--session", ""], "--session"),
        (["--session", "a.b"], "--session"),
        (["--session", "=a"], "--session"),
        (["--session", "-a"], "--session"),
        (["--session=-a"], "--session"),
        (["--session", "a\x1b"], "--session"),
        (["--session", "#{pid}"], "--session"),
        (["--session", "$1"], "--session"),
        (["--socket-name", "a/b"], "--socket-path"),
        (["--socket-name", "a", "--socket-path", "/b"], "exclude each other"),
        (["--container", "-it"], "--container"),
        (["--container=--privileged"], "--container"),
        (["--container", "c", "--cwd", "/x"], "--cwd has no effect"),
        (["--container-engine", "lxc"], "auto, docker, podman"),
        (["--cwd", "/nowhere"], "no such folder"),
        (["--tmux="], "--tmux"),
        (["--resume", "2h"], "--resume"),
        (["--resume", "nan"], "--resume"),
        (["--window", "1"], "--window"),
        (["--backlog", "-4M"], "--backlog"),
        (["--ssh-port", "22"], "--ssh-port has no effect without --ssh"),
        (["--no-ssh-sftp"], "--no-ssh-sftp has no effect without --ssh"),
        (["--wait"], "--wait needs a command"),
        (["--approve", "--no-auth"], "--approve has no effect with --no-auth"),
        (["--audit-log", ""], "--audit-log"),
        (["--record", ""], "--record"),
        (["--record-format", "gif"], "give one of v2, v3"),
        (["--record-limit", "1"], "--record-limit"),
        (["--record-total", "1K"], "--record-total '1K': give a size from 64K"),
        (["--max-viewers", "0"], "--max-viewers"),
        (["--max-handshakes", "0"], "--max-handshakes '0': give a number of connections"),
        (["--max-pending", "15"], "--max-pending '15': give a number of connections"),
        (["--max-message", "100K"], "--max-message '100K': give a size from 128K to 64M"),
        (["--head-timeout", "0"], "--head-timeout '0': give a time from 1 to 300 seconds"),
        (["--body-timeout", "2h"], "--body-timeout '2h': give a time from 1 to 3600 seconds"),
        (["--log-lines", "-1"], "--log-lines"),
        (["--metrics=1"], "--metrics takes no value"),
        (["--"], "After -- a command is needed"),
        (["--exclusive", "--", "htop"], "--exclusive is about tmux"),
        (["--container", "c", "--", "htop"], "--container is about tmux"),
        (["-s", "x", "--", "htop"], "--session is about tmux"),
        (["--no-auth", "--host", "0.0.0.0"], "would give a shell to everyone"),
        (["--no-auth", "--host", "box.example"], "would give a shell to everyone"),
        (["env", "--port", "1"], "--port is not an option of ttybridge env"),
        (["doctor", "--diff"], "belongs to: ttybridge env"),
        (["doctor", "--life", "1h"], "belongs to: ttybridge share"),
        (["kick"], "needs WHO: an id such as c7, or a name"),
        (["lock", "now"], "nothing called 'now'"),
        (["grand", "c7"], "Did you mean grant?"),
        (["share", "--rol", "viewer"], "Did you mean --role?"),
        (["who", "--port", "1"], "--port is not an option of ttybridge who"),
        (["--values"], "belongs to: ttybridge env"),
        (["env", "--", "htop"], "takes no command"),
        (["docter"], "Did you mean doctor?"),
        (["-x"], "no option -x"),
    ],
)
def test_a_wrong_option_gets_one_sentence_that_names_it(argv: list[str], part: str) -> None:
    found = problems(argv)
    assert len(found) == 1
    assert part in found[0]
    assert found[0].endswith((".", "?", "%", "-")) or "ttybridge --" in found[0]


def test_a_host_key_comes_from_one_place() -> None:
    secret = {"TTYBRIDGE_HOST_KEY_SECRET": "correct horse battery staple"}
    (found,) = problems(["--ssh", "--state-dir", "/state"], secret)
    assert found.startswith("--state-dir and TTYBRIDGE_HOST_KEY_SECRET both say")
    assert secret["TTYBRIDGE_HOST_KEY_SECRET"] not in found


def test_a_flag_for_the_token_is_refused_without_repeating_the_token() -> None:
    for argv in (["--token", TOKEN], [f"--token={TOKEN}"], ["--tokn", TOKEN], ["--password", "x"]):
        found = problems(argv)
        assert len(found) == 1
        assert TOKEN not in found[0]
    assert "TTYBRIDGE_TOKEN" in problems(["--token", TOKEN])[0]


@pytest.mark.parametrize(
    ("token", "part"),
    [
        ("", "empty"),
        ("short", "5 characters"),
        (TOKEN * 17, "more than 256"),
        (TOKEN + " x", "only letters"),
        (TOKEN + "é", "only letters"),
        (TOKEN + "\n", "only letters"),
        (TOKEN + "%20", "only letters"),
        ("passwordpassword1", "easy to guess"),
        ("a" * 32, "easy to guess"),
        ("abababababababababab", "easy to guess"),
    ],
)
def test_a_weak_token_is_refused_and_not_shown(token: str, part: str) -> None:
    for environ in ({"TTYBRIDGE_TOKEN": token}, {"TTYBRIDGE_TOKEN_FILE": "/t"}):
        (found,) = problems([], environ, read_token=lambda path: token)
        assert part in found
        assert not token or token not in found


def test_the_token_comes_from_the_variable_or_the_file_and_does_not_show_itself() -> None:
    config = made([], {"TTYBRIDGE_TOKEN": TOKEN})
    assert config.token == TOKEN
    assert TOKEN not in repr(config)
    from_file: dict[str, Any] = {"read_token": lambda path: TOKEN[::-1]}
    flag = ["--token-file", "/t"]
    assert made(flag, {"TTYBRIDGE_TOKEN": TOKEN}, **from_file).token == TOKEN[::-1]
    in_toml = 'token_file = "/t"'
    assert made([], {"TTYBRIDGE_TOKEN": TOKEN}, in_toml, **from_file).token == TOKEN
    assert made([], {}, in_toml, **from_file).token == TOKEN[::-1]
    both = {"TTYBRIDGE_TOKEN": TOKEN, "TTYBRIDGE_TOKEN_FILE": "/t"}
    assert "exclude each other" in problems([], both, **from_file)[0]
    assert "exclude each other" in problems(["--no-auth"], {"TTYBRIDGE_TOKEN": TOKEN})[0]
    assert "token_file" in problems([], {}, f'token = "{TOKEN}"')[0]
    assert TOKEN not in problems([], {}, f'token = "{TOKEN}"')[0]


def test_a_token_file_must_be_private_and_loses_one_newline(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    for mode in (0o640, 0o604, 0o660):
        file.chmod(mode)
        (found,) = problems(["--token-file", str(file)])
        assert f"chmod 600 {file}" in found
    file.chmod(0o600)
    assert made(["--token-file", str(file)]).token == TOKEN
    file.write_text(TOKEN + "\n\n")
    assert "only letters" in problems(["--token-file", str(file)])[0]
    file.write_bytes(b"\xff" * 20)
    assert "only letters" in problems(["--token-file", str(file)])[0]
    file.write_text(TOKEN * 100_000)
    assert "more than 256" in problems(["--token-file", str(file)])[0]
    assert "cannot be read" in problems(["--token-file", str(tmp_path / "none")])[0]
    assert "cannot be read" in problems(["--token-file", str(tmp_path)])[0]


def test_a_token_may_come_through_a_pipe() -> None:
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, TOKEN.encode() + b"\n")
        os.close(write_end)
        assert made(["--token-file", f"/dev/fd/{read_end}"]).token == TOKEN
    finally:
        os.close(read_end)


def test_the_configuration_file_is_found_at_the_usual_places(tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "ttybridge"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("port = 1003")
    other = tmp_path / "other.toml"
    other.write_text("port = 1004")
    find = settings.find_config_file
    home = {"HOME": str(tmp_path)}

    def port(flags: dict[str, str | bool | int | tuple[str, ...]], environ: dict[str, str]) -> Any:
        return resolve(flags, environ, find(flags, environ)).port

    assert port({}, home) == 1003
    assert port({}, {"XDG_CONFIG_HOME": str(tmp_path / ".config")}) == 1003
    assert port({}, {"HOME": "/nowhere", "XDG_CONFIG_HOME": str(tmp_path)}) is None
    assert port({"config_file": str(other)}, home) == 1004
    assert port({}, home | {"TTYBRIDGE_CONFIG": str(other)}) == 1004
    resolved = resolve({}, home, find({}, home))
    assert resolved.config_file == folder / "config.toml"


def test_a_bad_configuration_file_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    flags: dict[str, str | bool | int | tuple[str, ...]] = {"config_file": str(file)}

    def sentence() -> str:
        with pytest.raises(ConfigError) as caught:
            resolve(flags, {}, settings.find_config_file(flags, {}))
        (found,) = caught.value.problems
        return found

    assert "does not exist" in sentence()
    file.write_text("port = ")
    assert "not valid TOML" in sentence()
    file.write_bytes(b"# \xff")
    assert "not UTF-8" in sentence()
    file.write_text("[port]\na = 1")
    assert "this is not a text or a number" in sentence()
    file.write_text("port = true")
    assert "this is not a text or a number" in sentence()
    file.unlink()
    file.mkdir()
    assert "cannot be read" in sentence()


def test_of_two_sockets_the_one_from_the_stronger_source_is_taken() -> None:
    config = made(["-S", "/s"], {"TTYBRIDGE_SOCKET_NAME": "n"})
    assert (config.socket_path, config.socket_name) == (Path("/s"), None)
    config = made([], {"TTYBRIDGE_SOCKET_NAME": "n"}, 'socket_path = "/s"')
    assert (config.socket_path, config.socket_name) == (None, "n")


def test_a_command_sets_aside_what_the_file_says_about_tmux() -> None:
    config = made(["--wait", "--", "less", "-s", "--", "f"], {}, 'container = "c"\nsession = "x"')
    assert config.mode is Mode.DIRECT
    assert config.command == ("less", "-s", "--", "f")
    assert (config.container, config.session, config.wait) == (None, "0", True)


def test_the_mode_follows_from_the_options() -> None:
    assert made().mode is Mode.TMUX
    assert made(["--exclusive"]).mode is Mode.EXCLUSIVE
    assert made(["--container", "c"]).mode is Mode.CONTAINER
    assert made(["--", "htop"]).mode is Mode.DIRECT


def test_a_given_port_is_the_only_one_tried() -> None:
    assert list(made(["-p", "9"]).ports) == [9]
    assert list(made().ports) == list(range(8080, 8131))


def test_shells_start_in_content_where_it_exists() -> None:
    assert made(is_directory=lambda path: path == Path("content")).cwd == Path("content")
    assert made(["-C", "/x"], is_directory=lambda path: True).cwd == Path("/x")


def test_a_tilde_means_home_where_no_shell_has_replaced_it() -> None:
    environ = {"HOME": "/home/u"}
    assert made([], environ, 'socket_path = "~/s"').socket_path == Path("/home/u/s")
    assert made(["-S", "~/s"], environ).socket_path == Path("~/s")


def test_open_doors_come_with_advice() -> None:
    assert advice(made()) == ()
    notes = " ".join(advice(made(["--host", "0.0.0.0"])))
    assert "without encryption" in notes
    assert "--allow-host" in notes
    assert "--allow-host" not in " ".join(
        advice(made(["--host", "0.0.0.0", "--allow-host", "box"]))
    )
    assert "no token" in " ".join(advice(made(["--no-auth"])))


@pytest.mark.parametrize(
    ("args", "is_told"),
    [
        (["--allow-frame", "http://localhost:8888"], False),
        (["--allow-frame", "http://127.0.0.1:8888"], False),
        (["--allow-frame", "http://lab:8888", "--allow-host", "lab:8080"], False),
        (["--allow-frame", "http://lab:8888"], True),
        (["--allow-frame", "https://localhost:8888"], True),
        (["--allow-frame", "https://h", "--trusted-proxy", "127.0.0.1"], False),
        (["--allow-frame", "https://h", "--no-auth"], False),
    ],
)
def test_a_frame_of_another_site_comes_with_advice(args: list[str], is_told: bool) -> None:
    notes = " ".join(advice(made(args)))
    assert ("same host name" in notes) == is_told


def test_the_help_fits_a_screen_and_names_every_option() -> None:
    text = manual.help_text(subcommands.BRIDGE)
    lines = text.splitlines()
    assert 24 <= len(lines) <= 45
    assert max(map(len, lines)) <= 80
    for option in OPTIONS:
        assert option.flag in text
    for subcommand in subcommands.SUBCOMMANDS:
        own = manual.help_text(subcommand)
        assert max(map(len, own.splitlines())) <= 80, own
        assert all(flag in own for flag, _ in subcommand.switches)


def test_the_reference_of_options_is_up_to_date() -> None:
    written = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert written == manual.markdown(), "run: ttybridge options --markdown > docs/options.md"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--ngrok", "--no-auth"], "--no-auth with a tunnel"),
        (["--ngrok", "--cloudflared"], "--ngrok and --cloudflared exclude each other"),
        (["--ngrok", "--tunnel", "ssh:h"], "--ngrok and --tunnel ssh:h exclude each other"),
        (["--cloudflared", "--host", "0.0.0.0"], "A tunnel leads to 127.0.0.1"),
        (["--ngrok-domain", "a.example"], "--ngrok-domain has no effect without --ngrok"),
        (["--ngrok", "--ngrok-tcp"], "--ngrok-tcp is for SSH: add --ssh"),
        (["--ngrok", "--ngrok-allow", "a@b.example"], "without --ngrok-oauth"),
        (["--cloudflared", "--tunnel-url", "https://h"], "without --tunnel ssh:USER@HOST"),
        (["--tunnel", "ssh:"], "give a name such as ngrok"),
        (["--proxy", "0"], "give a port such as 6006"),
        (["--proxy", "9-8"], "give a port such as 6006"),
        (["--ngrok", "--ngrok-domain", "box"], "give a name such as box.ngrok.app"),
        (["--ngrok", "--ngrok-oauth", "google", "--ngrok-allow", "me"], "you@example.com"),
    ],
)
def test_what_is_wrong_about_a_public_address_is_said(argv: list[str], says: str) -> None:
    found = problems(argv)
    assert len(found) == 1, found
    assert says in found[0]


def test_a_tunnel_has_a_name_and_an_argument() -> None:
    assert (made(["--ngrok"]).tunnel_name, made([]).tunnel_name) == ("ngrok", "none")
    config = made(["--tunnel", "ssh:me@box:22/8080"])
    assert (config.tunnel_name, config.tunnel_argument) == ("ssh", "me@box:22/8080")
    assert config.is_public
    assert not made([]).is_public
