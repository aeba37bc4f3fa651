"""What ngrok's error codes mean, and what to do about them.

The codes are those of ngrok.com/docs/errors, read in August 2026; the sentences are ours. A code
that is not here still gets a sentence, with the page that explains it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

ACCOUNT_PAGE = "https://dashboard.ngrok.com/get-started/your-authtoken"
"""Where an account's authtoken is shown."""

UNKNOWN_ACCOUNT = "ngrok needs the authtoken of an account."
"""What is said when there is no token anywhere."""

HOW_TO_LOG_IN = (
    f"Copy it from {ACCOUNT_PAGE}, and set NGROK_AUTHTOKEN to it, "
    "or run `ngrok config add-authtoken`."
)
"""How an authtoken is got and given."""

_AGENTS = "https://dashboard.ngrok.com/agents"
_ENDPOINTS = "https://dashboard.ngrok.com/endpoints"
_DOMAINS = "https://dashboard.ngrok.com/domains"
_BILLING = "https://dashboard.ngrok.com/billing"

Explained = tuple[str, str]
"""What went wrong, and what to do next; a sentence each."""


def _same(codes: Iterable[int], message: str, hint: str) -> Mapping[int, Explained]:
    return dict.fromkeys(codes, (message, hint))


CODES: Mapping[int, Explained] = {
    **_same(
        [105, 106],
        "ngrok's authtoken is malformed.",
        f"Copy it again, all of it, from {ACCOUNT_PAGE}. It is no API key.",
    ),
    **_same(
        [107, 300],
        "ngrok does not take the authtoken: it was reset or revoked, or its account is gone.",
        f"Copy the present one from {ACCOUNT_PAGE}.",
    ),
    **_same([4018, 302, 304, 9000, 9018], UNKNOWN_ACCOUNT, HOW_TO_LOG_IN),
    **_same(
        [108, 348],
        "ngrok runs as many agents of this account at once as its plan allows.",
        f"Stop another one ({_AGENTS} lists them; one that was killed goes away within a minute or "
        "so), and start again.",
    ),
    **_same(
        [349, 351, 702, 703, 715, 718, 720, 734],
        "ngrok takes no more from this account for the moment: a limit by time is reached.",
        "Wait a minute and start again.",
    ),
    **_same(
        [102, 103, 247, 337, 338, 8014],
        "ngrok has suspended the account.",
        f"See {_BILLING}, or write to ngrok's support.",
    ),
    **_same(
        [115, 116],
        "The account's IP restrictions at ngrok do not let this machine in.",
        "Change them at https://dashboard.ngrok.com/ip-restrictions, or use another network.",
    ),
    9040: (
        "ngrok does not serve the country that this machine is in.",
        "Use another tunnel: --cloudflared, or --tunnel ssh:USER@HOST.",
    ),
    **_same(
        [123, 382],
        "ngrok wants the account's e-mail address to be verified first.",
        "Verify it at https://dashboard.ngrok.com/user/settings.",
    ),
    **_same(
        [119, 120, 121, 9042],
        "The ngrok agent of this machine is too old for ngrok's service.",
        "Run `ngrok update`, or remove it: a new one is installed at the next start.",
    ),
    8013: (
        "ngrok opens TCP addresses for accounts with a payment card alone (it is not charged).",
        "Add one at https://dashboard.ngrok.com/settings#id-verification, or leave --ngrok-tcp "
        "out: SSH works over the web address, too.",
    ),
    **_same(
        [307, 309, 310, 311],
        "The TCP address is not reserved for this account at ngrok, or for another region.",
        "Reserve it at https://dashboard.ngrok.com/tcp-addresses.",
    ),
    **_same(
        [313, 314, 315, 15000],
        "The account's plan at ngrok does not allow the domain that was asked for.",
        f"Take the domain that {_DOMAINS} lists, or leave --ngrok-domain out.",
    ),
    **_same(
        [317, 318, 319, 320, 321, 322, 354, 15002, 15013],
        "The domain that was asked for is not this account's at ngrok.",
        f"{_DOMAINS} lists yours; give one of them as --ngrok-domain, or leave that out.",
    ),
    **_same(
        [326, 327, 328, 329, 330, 331, 347, 355, 396, 397, 9032, 9033, 9034],
        "ngrok does not take the value of --ngrok-domain as the name of a domain.",
        f"{_DOMAINS} lists yours.",
    ),
    **_same(
        [308, 316, 356, 15014],
        "The authtoken is restricted: it may not open this address.",
        "Change its rules at https://dashboard.ngrok.com/authtokens, or take the one at "
        f"{ACCOUNT_PAGE}.",
    ),
    334: (
        "The address is online already: another agent serves it.",
        f"Stop that one ({_ENDPOINTS} lists them; one that was killed goes away within a minute or "
        "so), or give another --ngrok-domain.",
    ),
    **_same(
        [323, 324, 350, 352, 18021],
        "ngrok opens as many addresses for this account as its plan allows.",
        f"Close others ({_ENDPOINTS} lists them), or leave --ngrok-tcp out.",
    ),
    **_same(
        [714, 725, 726, 727, 728, 729, 730, 731],
        "The account has used up what its plan at ngrok allows in a month.",
        f"See {_BILLING}, or use another tunnel: --cloudflared, or --tunnel ssh:USER@HOST.",
    ),
    359: ("A line of --ngrok-basic-auth has no user.", "Write USER:PASSWORD, one a line."),
    360: (
        "A password of --ngrok-basic-auth is shorter or longer than ngrok takes.",
        "Write USER:PASSWORD with a password of at least 8 characters.",
    ),
    **_same(
        [15008, 15009, 15011, 15012],
        "ngrok does not take the lines of --ngrok-basic-auth: one is too long or has a character "
        "that HTTP forbids, or there are more than the plan allows.",
        "Write USER:PASSWORD, one a line, in plain letters and digits.",
    ),
    **_same(
        [363, 365],
        "ngrok has no such provider for --ngrok-oauth.",
        "Give google, github, gitlab, microsoft, linkedin, facebook or twitch.",
    ),
    **_same(
        [366, 367],
        "There are more --ngrok-allow than the account's plan at ngrok allows.",
        "Name fewer, or a whole domain (@example.com).",
    ),
    9015: (
        "The account's plan at ngrok has no login by OAuth.",
        "Leave --ngrok-oauth out: the bridge asks for its own login.",
    ),
    4012: (
        "The account's plan at ngrok lacks what was asked for.",
        f"Leave --ngrok-domain, --ngrok-oauth and --ngrok-basic-auth out, or see {_BILLING}.",
    ),
    **_same(
        [9009, 9010],
        "ngrok's agent runs through a proxy for paying accounts alone.",
        "Unset http_proxy and https_proxy for the bridge, or take proxy_url out of ngrok's "
        "configuration; or use another tunnel: --cloudflared, or --tunnel ssh:USER@HOST.",
    ),
    **_same(
        [9011, 9012],
        "The account's plan at ngrok does not allow an interface or certificates of your own.",
        "Take connect_interface and connect_cas out of ngrok's configuration.",
    ),
    **_same(
        [128, 722, 741, 742, 743, 802, 803],
        "ngrok's service has a fault of its own.",
        "Start again in a while; https://status.ngrok.com tells how it is.",
    ),
    8012: (
        "ngrok's agent cannot reach the bridge on this machine.",
        "Is something in between, such as a firewall for 127.0.0.1?",
    ),
    **_same(
        range(8000, 8010),
        "ngrok's agent cannot reach ngrok's service.",
        "Does this machine have a network that lets port 443 out? `ngrok diagnose` tells more.",
    ),
}
"""What is known, by the number in ERR_NGROK_number."""

_SIGNS: tuple[tuple[str, Explained], ...] = (
    (
        r"x509:|certificate signed by unknown authority",
        (
            "ngrok's agent does not trust who answers as ngrok's service: something between them "
            "opens the connection.",
            "In such a network, set connect_cas (before version 3: root_cas) to `host` in ngrok's "
            "configuration.",
        ),
    ),
    (
        r"no such host|server misbehaving|has no records|Temporary failure in name resolution",
        (
            "ngrok's agent cannot find ngrok's service: no name is resolved.",
            "Does this machine have a network, and may it ask for any name?",
        ),
    ),
    (
        r"i/o timeout|connection refused|network is unreachable|no route to host|err=EOF"
        r"|connection reset|context deadline exceeded|read EOF",
        (
            "ngrok's agent cannot reach ngrok's service.",
            "Does this machine have a network that lets port 443 out? `ngrok diagnose` tells more.",
        ),
    ),
    (
        r"(?i)error reading configuration|unmarshal|not found in type|invalid configuration",
        (
            "ngrok's agent does not take its configuration.",
            "`ngrok config check` looks at yours; what it says of the agent is taken over.",
        ),
    ),
)


def code_of(text: str) -> int | None:
    r"""Return the number of the last error code in a text.

    >>> code_of("authentication failed\r\n\r\nERR_NGROK_105\r\n"), code_of("EOF")
    (105, None)
    """
    found = re.findall(r"ERR_NGROK_(\d+)", text)
    return int(found[-1]) if found else None


def explain(text: str) -> Explained | None:
    """Return what an error of ngrok's says in words, and what to do; None when it says nothing.

    Args:
        text: A code, or lines of the agent's log.

    >>> explain("ERR_NGROK_99999")[1]
    'See https://ngrok.com/docs/errors/err_ngrok_99999'
    """
    code = code_of(text)
    if code is not None:
        message, hint = CODES.get(code, ("ngrok refuses.", ""))
        page = f"https://ngrok.com/docs/errors/err_ngrok_{code}"
        return f"{message[:-1]} (ERR_NGROK_{code}).", hint or f"See {page}"
    for sign, explained in _SIGNS:
        if re.search(sign, text):
            return explained
    return None


def failure(
    what: str, troubles: Sequence[str], lines: Sequence[str], status: int | None
) -> Explained:
    r"""Return what an error about the agent says, and what to do about it.

    Args:
        what: What went wrong, a sentence; ngrok's own reason takes its place where it has a code,
            and follows it otherwise.
        troubles: What ngrok or its agent says of it, the most telling first.
        lines: The last lines of the agent.
        status: Its exit status; None while it runs.

    >>> failure("It did not start.", ["dial tcp: i/o timeout"], [], None)[0]
    "It did not start. ngrok's agent cannot reach ngrok's service. It said nothing."
    >>> failure("It has ended.", [], ["killed"], 137)
    ('It has ended. Its exit status is 137. Its last lines:\nkilled\n', '')
    """
    message, hint = what, ""
    for trouble in troubles:
        known = explain(trouble)
        if known is not None:
            hint = known[1]
            message = f"{what} {known[0]}" if code_of(trouble) is None else known[0]
            break
    if status is not None:
        message += f" Its exit status is {status}."
    if not lines:
        return f"{message} It said nothing.", hint
    # What to do follows the message: it gets a line of its own.
    return "\n".join((f"{message} Its last lines:", *lines, "")), hint
