"""What a server's certificate says, and what is wrong with one that is not trusted."""

from collections.abc import Mapping

Certificate = Mapping[str, object]
"""A certificate as `ssl.SSLSocket.getpeercert` gives it."""

_CLOCK = "Compare the clock of this machine (date)"
_OTHER = (
    "Another server answers under this name: a network that wants a login first, a proxy, or a "
    "name that leads elsewhere."
)
_MIDDLEBOX = (
    "Something on the way may open TLS, as company networks and virus scanners do: have its "
    "authority trusted here, or name its file in SSL_CERT_FILE. Otherwise somebody listens in."
)
_PROBLEMS: Mapping[int, tuple[str, str]] = {
    9: ("is not good yet", f"{_CLOCK}."),
    10: ("has expired", f"Renew it where TLS ends. {_CLOCK}, too."),
    **dict.fromkeys((62, 64), ("is for another name", _OTHER)),
    **dict.fromkeys((2, 18, 19, 20, 21), ("comes from an authority that is not known", _MIDDLEBOX)),
}
"""What is known, by the numbers of OpenSSL (X509_V_ERR_…)."""


def explain(code: int, said: str, host: str) -> tuple[str, str]:
    """Return what is wrong with a certificate, and what to do.

    Args:
        code: OpenSSL's number for it.
        said: Its words for it.
        host: Whose certificate it should be.

    >>> explain(10, "certificate has expired", "box.example")[0]
    'the certificate of box.example has expired'
    >>> explain(23, "certificate revoked", "box.example")[0]
    'the certificate of box.example is not accepted: certificate revoked'
    """
    problem, hint = _PROBLEMS.get(code, (f"is not accepted: {said}", _OTHER))
    return f"the certificate of {host} {problem}", hint


def issuer_of(certificate: Certificate) -> str:
    """Return who has signed a certificate: an organisation, else a name; may be empty.

    >>> issuer_of({"issuer": ((("commonName", "R11"),), (("organizationName", "Authority"),))})
    'Authority'
    """
    issuer = certificate.get("issuer")
    parts = [pair for group in issuer for pair in group] if isinstance(issuer, tuple) else []
    names = {str(name): str(value) for name, value in parts}
    return names.get("organizationName") or names.get("commonName", "")
