"""Returns what is wrong with the broker, from any error of py-amqp, redis-py or the system.

It goes by AMQP's reply codes, by the first word of Redis's replies (which redis-py turns into classes), and by the
system's error numbers. The words are put after "the broker", and show no value of a setting or a message.
"""

import errno
import socket
import ssl
from collections.abc import Iterator

from webhooks import outage_reasons

_NO_HOST = "has no such virtual host, or does not let this user in"
_TLS = "fails at TLS; look at the scheme of BROKER_URL"
_NO_TRUST = "shows a certificate of an authority that is not trusted; look at HOOKLINE_BROKER_CA_FILE"
_BY_VERIFY_CODE = {
    9: "shows a certificate that is not valid yet",
    10: "shows a certificate that has expired",
    62: "shows a certificate for another host name",
    64: "shows a certificate for another address",
}
"""https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/#error-codes"""
_BY_REPLY_CODE = {
    311: "takes no message so large",
    320: "is closing its connections",
    402: _NO_HOST,
    404: "has no such queue or exchange",
    405: "lets another client alone use the queue",
    406: "holds the queue with other properties",
    506: "is short of resources",
    530: _NO_HOST,
    541: outage_reasons.INTERNAL_ERROR,
}
"""https://www.rabbitmq.com/amqp-0-9-1-reference#constants"""
_BY_REPLY = {
    "WRONGPASS": outage_reasons.LOGIN_REFUSED,
    "NOAUTH": "wants a login; give user and password",
    "NOPERM": "denies this user a command, a key or a channel",
    "OOM": outage_reasons.NO_MEMORY_LEFT,
    "READONLY": "is read-only; it may be a replica",
    "LOADING": "is starting",
    "MASTERDOWN": "has lost its primary",
    "CLUSTERDOWN": "is a cluster that is down",
    "MOVED": "is a cluster, which is not supported",
    "CROSSSLOT": "is a cluster, which is not supported",
    "MISCONF": "cannot write to its disk",
    "NOREPLICAS": "has too few replicas",
}
"""https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors"""
_BY_TEXT = {
    "max number of clients reached": outage_reasons.NO_CONNECTION_LEFT,
    "DB index is out of range": "has no database of that number",
    "invalid password": outage_reasons.LOGIN_REFUSED,
    "called without any password configured": outage_reasons.LOGIN_REFUSED,
    "Name or service not known": outage_reasons.NO_SUCH_HOST,
    "name resolution": outage_reasons.NO_SUCH_HOST,
    "closed connection": outage_reasons.CONNECTION_ENDED,
    "Socket closed": outage_reasons.CONNECTION_ENDED,
}
_BY_ERRNO = {
    errno.ECONNREFUSED: outage_reasons.NOTHING_LISTENS,
    errno.ECONNRESET: outage_reasons.CONNECTION_ENDED,
    errno.EPIPE: outage_reasons.CONNECTION_ENDED,
    errno.EHOSTUNREACH: outage_reasons.NETWORK_UNREACHABLE,
    errno.ENETUNREACH: outage_reasons.NETWORK_UNREACHABLE,
    errno.ENOSPC: outage_reasons.DISK_FULL,
    errno.EACCES: "is a folder that may not be used",
    errno.EROFS: "is a folder that may not be written to",
    errno.ENOENT: "is a folder that is not there",
    errno.EMFILE: "is not asked: this process has too many open files",
}


def reason(error: BaseException) -> str:
    """Return what is wrong with the broker, by the error itself or by one that it was raised from."""
    known = (words for one in _chain(error) if (words := _of(one)))
    return next(known, "") or f"does not answer ({type(list(_chain(error))[-1]).__name__})"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _of(error: BaseException) -> str | None:
    code = getattr(error, "reply_code", None)
    if code == 403:  # The login was refused, or something that was done on a channel.
        is_login = "login was refused" in str(error).lower()
        return outage_reasons.LOGIN_REFUSED if is_login else "denies this user a permission that is needed"
    # If redis-py knows the reply's first word, it keeps that word, else the whole reply.
    word = getattr(error, "status_code", None) or str(error).partition(" ")[0]
    words = _BY_REPLY_CODE.get(code) if code else _BY_REPLY.get(word)
    return words or next((words for text, words in _BY_TEXT.items() if text in str(error)), None) or _of_system(error)


def _of_system(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _BY_VERIFY_CODE.get(error.verify_code, _NO_TRUST)
    if isinstance(error, ssl.SSLError):
        return _TLS
    if isinstance(error, socket.gaierror):
        return outage_reasons.NO_SUCH_HOST
    if isinstance(error, TimeoutError):
        return outage_reasons.TIMED_OUT
    return _BY_ERRNO.get(error.errno or 0) if isinstance(error, OSError) else None
