"""Why somebody could not join: what the client is told, and what is counted."""

from http import HTTPStatus

from ttybridge.errors import ProtocolError, TtyBridgeError
from ttybridge.sessions.door import NotAdmitted
from ttybridge.sessions.room import SessionFull


def refusal(error: TtyBridgeError) -> dict[str, str]:
    """Return what a client of the page's protocol is told (docs/protocol.md)."""
    match error:
        case SessionFull():
            code = "full"
        case NotAdmitted(code=code):
            pass
        case ProtocolError():
            code = "bad-request"
        case _:
            code = "unavailable"
    return {"code": code, "hint": str(error)}


def status_of(error: TtyBridgeError) -> HTTPStatus:
    """Return the status of the answer where there is no connection yet."""
    match error:
        case SessionFull():
            return HTTPStatus.TOO_MANY_REQUESTS
        case NotAdmitted():
            return HTTPStatus.FORBIDDEN
        case _:
            return HTTPStatus.SERVICE_UNAVAILABLE


def reason_of(error: TtyBridgeError) -> str:
    """Return under which reason of `core.meter.REASONS` it is counted."""
    match error:
        case SessionFull():
            return "full"
        case NotAdmitted():
            return "door"
        case ProtocolError():
            return "packet"
        case _:
            return "unavailable"
