"""What a hostile program prints: a table of escape sequences, and what each of them tries.

Every entry may be cut short or left open; who plays it ends it with `END`.
"""

import base64
from dataclasses import dataclass

ESC, BEL, ST = b"\x1b", b"\x07", b"\x1b\\"

END = b"\x18\x1b\\\x1bc"
"""CAN, ST and RIS: leaves every sequence and every mode."""

FENCE = b"\x1b[5n"
FENCE_ANSWER = b"\x1b[0n"
"""A question whose answer shows that all output before it was worked through."""

COMMAND = "touch${IFS}canary-file\r"
"""What no sequence may get typed."""

SCRIPT = "window.__canary.push('script')"

MARKUP = f'"><img src=x onerror="{SCRIPT}"><script>{SCRIPT}</script><b id=planted>'

HEX = rb"[0-9a-f]{4}"
RGB = rb"rgb:" + HEX + b"/" + HEX + b"/" + HEX

DA1, DA2 = rb"\x1b\[\?1;2c", rb"\x1b\[>0;276;0c"
TMUX_DA = rb"\x1b\[\?1;2(;4)?c|\x1b\[>84;0;0c"
POSITION = rb"\x1b\[\??[0-9]{1,4};[0-9]{1,4}R"
MODE = rb"\x1b\[\??[0-9]{1,10};[0-4]\$y"
COLOUR = rb"\x1b\](?:4;[0-9]{1,3}|1[0-2]);" + RGB + rb"(?:\x07|\x1b\\)"
SETTING = rb'\x1bP[01]\$r[0-9;]{0,60}(?:m|r|"p|"q| q)?\x1b\\'
VERSION = rb"\x1bP>\|(?:xterm\.js\([0-9.]+\)|tmux [0-9.a-z]+)\x1b\\"
FOCUS = rb"\x1b\[[IO]"

ANSWERS = b"|".join(
    (DA1, DA2, TMUX_DA, POSITION, MODE, COLOUR, SETTING, VERSION, FOCUS, rb"\x1b\[\??0n")
)
"""All that may be typed by itself: numbers of bounded length, and the terminal's own name. No text
of the program is in any of them."""


@dataclass(frozen=True)
class Escape:
    """One thing that a hostile program prints."""

    name: str
    data: bytes
    tries: str
    """What it tries, and where the idea is from."""
    answers: bytes = b""
    """Pattern of what the terminal may type by itself, all of it; nothing by default."""


def osc(text: str, end: bytes = BEL) -> bytes:
    return b"\x1b]" + text.encode() + end


def dcs(text: str) -> bytes:
    return b"\x1bP" + text.encode() + ST


def csi(*texts: str) -> bytes:
    return b"".join(b"\x1b[" + text.encode() for text in texts)


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def link(address: str, text: str = "click") -> bytes:
    return osc(f"8;;{address}", ST) + text.encode() + osc("8;;", ST)


HUGE = ("100000", "2147483647", "4294967296", "99999999999999999999")

TITLES = {
    "markup": MARKUP,
    "a command and controls": f"a\r{COMMAND}\x01\x02\tb",
    "text turned around": "invoice\u202efdp.exe\u2066\u2067\u2069\u200e\u200f\u061c",
    "lines": "one\u2028two\u2029three\x85four",
    "very long": "T" * 200_000,
    "floods of marks": "Z" + "\u0301\u0489" * 5_000,
    "half a pair and noncharacters": "a\ufffe\uffff\U0001ffff\U000e0041",
}

REPORTS = (
    Escape("report title", osc(f"2;{COMMAND}") + csi("21t"), "types the title it has set"),
    Escape("report icon name", osc(f"1;{COMMAND}") + csi("20t"), "types the icon name it has set"),
    Escape(
        "title stack", osc(f"0;{COMMAND}") + csi("22;0t", "23;0t", "21t"), "the same by a stack"
    ),
    Escape(
        "title in hex", csi(">1t", ">2t") + osc("2;746f756368") + csi("21t"), "xterm's hex titles"
    ),
    Escape("answerback", b"\x05" * 64, "ENQ answers with a text that can be set elsewhere"),
    Escape(
        "window size", csi("14t", "15t", "16t", "18t", "19t", "11t", "13t"), "reports of windows"
    ),
    Escape(
        "device attributes",
        csi("c", "0c"),
        "what kind of terminal",
        rb"(?:%s|%s)*" % (DA1, TMUX_DA),
    ),
    Escape("secondary attributes", csi(">c"), "its version", rb"(?:%s|%s)*" % (DA2, TMUX_DA)),
    Escape("tertiary attributes", csi("=c", "=0c"), "its serial number"),
    Escape("attributes of old", b"\x1bZ", "DECID", rb"(?:%s)?" % DA1),
    Escape(
        "many attributes", csi("c") * 2_000, "a flood of answers", rb"(?:%s|%s)*" % (DA1, TMUX_DA)
    ),
    Escape("status", csi("5n", "?5n"), "DSR", rb"(?:\x1b\[0n)+"),
    Escape("position", csi("6n", "999;999H", "6n"), "CPR", b"(?:%s)+" % POSITION),
    Escape(
        "extended position",
        csi("?6n", "?15n", "?25n", "?26n", "?53n", "?996n"),
        "DECXCPR and more",
        b"(?:%s)*" % POSITION,
    ),
    Escape("modes", csi("?2004$p", "?1049$p", "4$p", "?99999999$p"), "DECRQM", b"(?:%s)*" % MODE),
    Escape("rectangle checksum", csi("1;1;1;1;50;80*y", "?63n"), "DECRQCRA reads the screen"),
    Escape("presentation state", csi("1$w", "2$w"), "DECRQPSR"),
    Escape("terminal parameters", csi("0x", "1x"), "DECREQTPARM"),
    Escape(
        "setting",
        dcs("$qm") + dcs('$q"p') + dcs("$qr") + dcs("$q q") + dcs('$q"q'),
        "DECRQSS",
        b"(?:%s)*" % SETTING,
    ),
    Escape(
        "setting with text",
        dcs(f"$q{COMMAND}") + dcs(f"$qm{COMMAND}"),
        "echoes an unknown setting",
        b"(?:%s)*" % SETTING,
    ),
    Escape(
        "capabilities", dcs("+q544e") + dcs(f"+q{COMMAND}") + dcs("+p0a"), "XTGETTCAP, XTSETTCAP"
    ),
    Escape("version", csi(">q", ">0q"), "XTVERSION", b"(?:%s)*" % VERSION),
    Escape(
        "keyboard flags", csi("?u", ">31u", "=31u", "<u", ">4;2m", "?4m"), "makes keys unreadable"
    ),
    Escape("user keys", dcs(f"0;1|17/{COMMAND.encode().hex()}"), "DECUDK puts a text on F6"),
    Escape("macros", dcs(f"1;0;0!z{COMMAND}") + csi("1*z"), "DECDMAC, DECINVM"),
    Escape(
        "colours",
        osc("10;?") + osc("11;?", ST) + osc("12;?"),
        "colour queries",
        b"(?:%s)*" % COLOUR,
    ),
    Escape("palette", osc("4;1;?;2;?;255;?", ST), "palette queries", b"(?:%s)*" % COLOUR),
    Escape(
        "colour set to text",
        osc(f"4;1;{COMMAND}") + osc("4;1;?") + osc(f"10;{COMMAND};?"),
        "has a colour answered as it was set",
        b"(?:%s)*" % COLOUR,
    ),
    Escape(
        "special colours",
        osc("5;0;?") + osc("17;?") + osc("19;?") + osc("708;?"),
        "further colours",
    ),
    Escape("font", osc("50;?") + osc(f"50;{COMMAND}") + osc("50;?"), "the font's name comes back"),
    Escape("properties", osc(f"3;A={COMMAND}") + osc("3;?A"), "X properties"),
    Escape("folder", osc(f"7;file://host/{MARKUP}") + osc("7;?"), "OSC 7"),
    Escape(
        "selection",
        osc("52;c;?") + osc("52;p;?", ST) + osc("52;;?") + osc("52;0;?"),
        "reads the clipboard",
    ),
    Escape(
        "kitty clipboard",
        osc("5522;type=read;Lg==", ST) + osc("5522;type=read:loc=primary;", ST),
        "reads the clipboard by another protocol",
    ),
    Escape(
        "iterm reports",
        osc("1337;ReportCellSize") + osc("1337;ReportVariable=" + b64("user.x")),
        "reports of iTerm's",
    ),
)

CLIPBOARD = (
    Escape("clipboard", osc(f"52;c;{b64(COMMAND)}"), "puts a command on the clipboard"),
    Escape("clipboard often", osc(f"52;;{b64(COMMAND)}", ST) * 50, "asks again and again"),
    Escape("clipboard, large", osc(f"52;c;{'QUFB' * 200_000}"), "a large text"),
    Escape(
        "clipboard, broken",
        osc("52;c;%%%") + osc("52;zz;QUFB") + osc("52;c;!") + osc("52"),
        "malformed",
    ),
    Escape(
        "iterm copy",
        osc("1337;CopyToClipboard=general") + COMMAND.encode() + osc("1337;EndCopy"),
        "another protocol",
    ),
    Escape("iterm copy at once", osc(f"1337;Copy=:{b64(COMMAND)}"), "another protocol"),
)

STRINGS = (
    Escape("notification", osc(f"9;{MARKUP}") + osc("9;4;1;50"), "notifications, progress"),
    Escape("notification of urxvt", osc(f"777;notify;{MARKUP};{MARKUP}"), "notifications"),
    Escape("notification of kitty", osc(f"99;i=1:d=0;{MARKUP}", ST), "notifications"),
    Escape(
        "file of iterm",
        osc(f"1337;File=name={b64('../../x')};inline=0;size=4:{b64('evil')}"),
        "a download",
    ),
    Escape(
        "picture of iterm",
        osc(f"1337;File=inline=1;width=9999px:{b64(MARKUP)}"),
        "a picture, or markup",
    ),
    Escape(
        "address of iterm", osc(f"1337;OpenURL=:{b64('https://evil.example/')}"), "opens a page"
    ),
    Escape(
        "mark of iterm",
        osc("1337;StealFocus")
        + osc("1337;RequestAttention=fireworks")
        + osc("1337;ClearScrollback")
        + osc("1337;SetBackgroundImageFile=" + b64("/etc/passwd")),
        "attention",
    ),
    Escape(
        "shell marks",
        osc("133;A") + osc(f"633;E;{COMMAND}") + osc("633;P;Cwd=/"),
        "shell integration",
    ),
    Escape(
        "sixel",
        dcs('0;0;0q"1;1;20000;20000#0;2;0;0;0' + "#0!20000~-" * 200),
        "a picture beyond the box",
    ),
    Escape("regis", dcs("p" + "S(E)P[0,0]V[9999,9999]" * 50), "vector graphics"),
    Escape(
        "kitty picture",
        b"\x1b_Ga=T,f=100,t=f,s=9999,v=9999;" + b64("/etc/passwd").encode() + ST,
        "a picture out of a file",
    ),
    Escape(
        "private strings",
        b"".join(b"\x1b" + c + MARKUP.encode() + ST for c in (b"X", b"^", b"_")),
        "SOS, PM and APC",
    ),
    Escape("window name", b"\x1bk" + MARKUP.encode() + ST, "the name of a screen window"),
    Escape("passthrough", b"\x1bPtmux;\x1b\x1b]52;c;?\x07\x1b\x1b[21t" + ST, "tmux's passthrough"),
    Escape("passthrough of screen", b"\x1bP\x1b]52;c;?\x07" + ST, "screen's passthrough"),
    Escape("endless osc", b"\x1b]2;" + b"A" * 4_000_000, "an OSC without an end"),
    Escape("endless dcs", b"\x1bP$q" + b"B" * 1_000_000, "a DCS without an end"),
    Escape("endless apc", b"\x1b_" + b"C" * 1_000_000, "an APC without an end"),
    Escape("endless numbers", b"\x1b[" + b"1;" * 1_000_000, "a CSI without an end"),
    Escape("deep subparameters", b"\x1b[38" + b":5" * 100_000 + b"m", "subparameters"),
    Escape("controls", bytes(range(0x20)) * 20 + b"\x7f" * 20, "all C0 controls"),
    Escape(
        "c1",
        b"".join(b"\xc2" + bytes([c]) for c in range(0x80, 0xA0)) * 5,
        "all C1 controls",
        b"(?:%s)*" % DA1,
    ),
    Escape("bad utf-8", bytes(range(0x80, 0x100)) * 200, "bytes that are no text"),
    Escape("half a character", b"\xf0\x9f\x98", "the rest never comes"),
    Escape("bells", BEL * 20_000, "noise"),
    Escape("markup", MARKUP.encode() * 50, "is taken for markup"),
    Escape(
        "locking shifts",
        b"\x0e\x1b(0\x1b)0\x1bn\x1bo\x1b|\x1b}\x1b~\x1b%@\x1b%G",
        "other characters",
    ),
)

WINDOW = (
    Escape(
        "resize",
        csi("8;100000;100000t", "8;0;0t", "8;1;1t", "4;100000;100000t"),
        "another window size",
    ),
    Escape("move", csi("3;-9999;-9999t", "3;100000;100000t"), "moves the window away"),
    Escape("iconify", csi("2t", "1t", "5t", "6t", "7t"), "iconifies, raises, lowers"),
    Escape("full screen", csi("9;1t", "9;0t", "10;1t", "10;2t"), "full screen"),
    Escape("rows", csi("24t", "999t", "36*|", "999*|", "999$|"), "DECSLPP, DECSNLS, DECSCPP"),
    Escape("132 columns", csi("?40h", "?3h", "?3l", "?95h"), "DECCOLM"),
    Escape("pointer shape", osc("22;none") + osc(f"22;{MARKUP}"), "hides the pointer"),
    Escape("cursor shape", csi("99 q", "6 q", "2147483647 q"), "the cursor"),
    Escape("double size", b"\x1b#3\x1b#4\x1b#6\x1b#8" + b"W" * 400, "lines of double size"),
    Escape(
        "margins", csi("?69h", "5;2147483647s", "2147483647;1r", "0;0r", "9;2r"), "scroll regions"
    ),
    Escape("origin", csi("?6h", "3;4r", "999;999H", "?6l"), "origin mode"),
)

REPEATED = "@ABCDEFGHILMPSTXZ`abdefgjkmr"

NUMBERS = (
    *(
        Escape(f"{huge} {final}", b"x" + csi(f"{huge}{final}") + b"y", "as often as told")
        for huge in HUGE
        for final in REPEATED
        if not (huge.startswith("1") and final in "mgr")
    ),
    Escape(
        "columns and rows",
        b"x" + csi("2147483647'}", "2147483647'~", "2147483647 @", "2147483647 A"),
        "as often as told",
    ),
    Escape(
        "rectangles",
        csi(
            "1;1;99999;99999;1;1;1;1$v",
            "88;1;1;99999;99999$x",
            "1;1;99999;99999$z",
            "1;1;99999;99999;1;7$r",
            "1;1;99999;99999${",
        ),
        "fills and copies",
    ),
    Escape(
        "repeated, often",
        b"x" + csi("2147483647b", "2147483647S", "2147483647L") * 300,
        "all of it, often",
    ),
    Escape("tabs", csi("3g") + b"\t" * 100_000 + csi("99999I", "99999Z"), "tabs without stops"),
    Escape(
        "negative",
        csi("-1A", "-2147483648S", "?-1h", "1;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;;H"),
        "signs",
    ),
    Escape(
        "saved cursors", b"\x1b7" * 10_000 + b"\x1b8" * 10_000 + csi("s", "u") * 5_000, "the stack"
    ),
    Escape(
        "alternate screens", csi("?1049h", "?47h", "?1047h", "?1049l") * 2_000, "back and forth"
    ),
)

MODES = (
    Escape(
        "mouse",
        csi("?9h", "?1000h", "?1002h", "?1003h", "?1005h", "?1006h", "?1015h", "?1016h"),
        "moves are typed",
    ),
    Escape("focus", csi("?1004h", "?1004l", "?1004h"), "focus is typed", b"(?:%s)*" % FOCUS),
    Escape(
        "bracketed paste",
        csi("?2004h", "?2004l", "200~") + COMMAND.encode() + csi("201~"),
        "a paste of its own",
    ),
    Escape("synchronised", csi("?2026h") + b"never shown", "holds the drawing back"),
    Escape(
        "application keys",
        csi("?1h", "?66h", "?67h", "20h", "2h", "?8h", "?30h") + b"\x1b=",
        "other keys",
    ),
    Escape(
        "other modes",
        csi(
            "?5h",
            "?7l",
            "?12h",
            "?25l",
            "?45h",
            "4h",
            "?9001h",
            "?1070h",
            "?2027h",
            "?2031h",
            "?2048h",
            "?7727h",
            "?1034h",
            "?1035h",
            "?1036h",
            "?1039h",
        ),
        "whatever they do",
        rb"(?:\x1b\[48;[0-9;]{1,40}t)?",
    ),
    Escape(
        "all modes",
        b"".join(csi(f"?{n}h") for n in range(1, 2100)),
        "all of them",
        rb"(?:%s)*" % FOCUS,
    ),
    Escape(
        "print",
        csi("i", "0i", "5i", "?5i") + COMMAND.encode() + csi("4i", "?4i", "?1i", "10i"),
        "prints",
    ),
    Escape("reports of the locator", csi("1;2'z", "1'{", "'|", "1;1;9;9'w"), "DEC locator"),
)

TEXTS = (
    Escape(
        "zalgo",
        ("Z" + "".join(chr(c) for c in range(0x300, 0x370)) * 3).encode() * 20,
        "leaves its line",
    ),
    Escape(
        "one cell, many marks", b"Z" + "\u0301\u0323\u0489".encode() * 2_000, "a cell without end"
    ),
    Escape(
        "variation selectors",
        ("☂" + "\ufe0f\ufe0e" * 300 + "\U000e0100" * 300).encode() * 10,
        "another width",
    ),
    Escape(
        "joined people",
        ("\U0001f469" + "\u200d\U0001f469" * 2_000).encode(),
        "one cluster without end",
    ),
    Escape(
        "flags and skin",
        ("\U0001f1e6" * 4_001 + "\U0001f44d" + "\U0001f3ff" * 2_000).encode(),
        "clusters",
    ),
    Escape(
        "turned around",
        "\u202e\u2067\u2066txt.exe\u202d\u202b\u202aשלום\u2069".encode() * 200,
        "bidi",
    ),
    Escape(
        "invisible",
        ("\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u115f\u3164" * 300).encode(),
        "no width",
    ),
    Escape("wide", ("﷽𒐫꧅⸻" * 2_000).encode(), "letters wider than their cells"),
    Escape(
        "tags and noncharacters",
        ("\U000e0001" + "\U000e0041" * 3_000 + "\ufdd0\uffff").encode(),
        "tags",
    ),
    Escape("one long line", b"L" * 200_000, "a line without end"),
)

BAD_ADDRESSES = (
    f"javascript:{SCRIPT}",
    f"JaVaScRiPt:{SCRIPT}",
    f" javascript:{SCRIPT}",
    f"javascript\t:{SCRIPT}",
    f"java\tscript:{SCRIPT}",
    f"\u200bjavascript:{SCRIPT}",
    f"javascript://https://good.example/%0a{SCRIPT}",
    f"data:text/html,<script>{SCRIPT}</script>",
    f"DATA:text/html;base64,{b64(f'<script>{SCRIPT}</script>')}",
    "file:///etc/passwd",
    "file://evil.example/share",
    f"vbscript:{SCRIPT}",
    "blob:https://good.example/1",
    "filesystem:https://good.example/temporary/x",
    "view-source:https://good.example/",
    "chrome://settings/",
    "about:blank",
    "ftp://evil.example/",
    "ws://evil.example/",
    "mailto:a@evil.example",
    "tel:112",
    "ssh://evil.example/",
    "vscode://evil/run",
    "ms-msdt:/id",
    "//evil.example/",
    "/logout",
    "logout",
    "?token=x",
    "https://",
    "http://[::1",
    "https://good.example:99999/",
    "https://good.example/" + "a" * 100_000,
)
"""Where no click may lead."""

GOOD_ADDRESSES = {
    "https://good.example/page?a=1#b": "https://good.example/page?a=1#b",
    "HTTP://GOOD.example/": "http://good.example/",
    "https://bank.example@evil.example/": "https://bank.example@evil.example/",
    "https://bücher.example/": "https://xn--bcher-kva.example/",
    "https://b\u0430nk.example/": "https://xn--bnk-6cd.example/",
    "https://good.example/\u202egpj.exe": "https://good.example/%E2%80%AEgpj.exe",
    f"https://good.example/{MARKUP.replace(' ', '+')}": "https://good.example/",
    "https://good.example/" + "b" * 3_000: "https://good.example/bbb",
}
"""What a click opens, and how the page's hint begins."""

LINKS = (
    *(
        Escape(f"link {n}", link(address), "a link that is no web page")
        for n, address in enumerate(BAD_ADDRESSES)
    ),
    Escape("link with controls", link(f"java\x01script\x00:{SCRIPT}\r\n"), "controls in a scheme"),
    Escape(
        "link without end",
        osc("8;;https://good.example/") + b"all that follows ",
        "goes on for ever",
    ),
    Escape(
        "ids of links",
        b"".join(osc(f"8;id={n};https://good.example/{n}") + b"x" for n in range(5_000)),
        "many ids",
    ),
    Escape(
        "id of a link",
        osc(f"8;id={'i' * 100_000}:{MARKUP};https://good.example/") + b"x",
        "a long id",
    ),
)

TITLED = tuple(
    Escape(f"title {name} {number}", osc(f"{number};{text}"), "leaves the title's place")
    for name, text in TITLES.items()
    for number in ("0", "1", "2", "l", "L")
)

CORPUS = (
    *REPORTS,
    *CLIPBOARD,
    *STRINGS,
    *WINDOW,
    *NUMBERS,
    *MODES,
    *TEXTS,
    *LINKS,
    *TITLED,
)
