"""The errors that ttybridge raises.

TtyBridgeError
├── ConfigError          one or more options are wrong
├── MissingProgramError  a program that is needed is not installed, or too old
├── PortTakenError       somebody else listens on the port
├── TerminalError        a pty, its child, tmux or a container engine failed
├── SshdError            the companion sshd could not be started, or keeps ending
├── TunnelError          a tunnel could not be opened, or its public address is lost
├── RecordingError       a recording cannot be started, written or found
├── ProtocolError        a client sent something that the protocol does not allow
└── AccessDenied         the credential, Host or Origin of a request is not accepted
"""

from collections.abc import Sequence


class TtyBridgeError(Exception):
    """Base of all errors meant for people.

    Attributes:
        message: What went wrong, with the value that was wrong; one sentence.
        hint: What to do next; empty when there is nothing to do.
        exit_code: Status of the command when this error ends it.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class ConfigError(TtyBridgeError):
    """One or more options are wrong; `problems` has a sentence for each."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class MissingProgramError(TtyBridgeError):
    """A program that is needed is missing or too old."""

    exit_code = 3


class TerminalError(TtyBridgeError):
    """The pty, its child, tmux or the container engine failed.

    The last lines that the program printed are part of the message.
    """

    exit_code = 4


class PortTakenError(TtyBridgeError):
    """Somebody else listens on the port that was asked for."""

    exit_code = 5


class SshdError(TtyBridgeError):
    """The companion sshd could not be started, or keeps ending.

    The last lines that it printed are part of the message.
    """

    exit_code = 6


class TunnelError(TtyBridgeError):
    """A tunnel could not be opened, or its public address is lost.

    The last lines that its agent printed are part of the message.
    """

    exit_code = 7


class RecordingError(TtyBridgeError):
    """A recording cannot be started, written or found."""


class ProtocolError(TtyBridgeError):
    """A client sent something that the protocol does not allow; only that client is ended."""


class AccessDenied(TtyBridgeError):
    """A request is refused before anything is done for it.

    Attributes:
        status: The HTTP status of the answer.
    """

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
