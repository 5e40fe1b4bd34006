"""Errors of Farwatch, drawn as a tree by who is at fault.

```text
FarwatchError
├── UsageError              the caller's mistake; also a ValueError
│   ├── QueryError          a `where` expression that does not parse
│   ├── CommandError        a command that the run does not know, or a value that it does not take
│   └── NotFoundError       no such run, project, series or file; also a LookupError
├── ContactError            the server cannot be reached; trying again may help
├── BridgeError             a chat or push service does not take what it was given
├── RefusedError            the server answered no; trying again will not help
│   ├── DeniedError         who asks is unknown, or may not
│   ├── ExistsError         a run that must not exist does
│   ├── EndedError          a command for a run that nobody can reach any more
│   ├── ConfirmError        a command that must be asked for twice
│   ├── GapError            a batch does not continue what the server has
│   ├── ForkError           two journals claim the same writer
│   └── LimitError          a quota or a size limit, with when to try again
└── DataError               a journal, a store or a file on disk is damaged
```

Every class has a stable `code`, the `http_status` under which the server reports it, and says whether
trying again is `retryable`. `hint` is one sentence about what to do next.
"""


class FarwatchError(Exception):
    """Base of everything that Farwatch raises on purpose."""

    code = "internal"
    http_status = 500
    retryable = False

    def __init__(self, message: str, *, hint: str | None = None, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(FarwatchError, ValueError):
    """Raised for an argument, a name or a request that cannot be right."""

    code = "bad-request"
    http_status = 400


class QueryError(UsageError):
    """Raised for a `where` expression, a regular expression or a sort key that does not parse."""

    code = "bad-query"


class CommandError(UsageError):
    """Raised for a command that a run does not know, or with a value that it does not take."""

    code = "wrong-command"
    http_status = 422


class NotFoundError(UsageError, LookupError):
    """Raised when a run, project, series or file does not exist, or is not the asker's to see."""

    code = "not-found"
    http_status = 404


class ContactError(FarwatchError, OSError):
    """Raised when a server cannot be reached or does not answer in time."""

    code = "no-contact"
    http_status = 503
    retryable = True


class BridgeError(FarwatchError):
    """Raised when a chat or push service cannot be connected: wrong or revoked credentials, no contact, a missing library."""

    code = "no-bridge"
    http_status = 422


class RefusedError(FarwatchError):
    """Raised when a server understood the request and will not do it."""

    code = "refused"
    http_status = 422


class DeniedError(RefusedError, PermissionError):
    """Raised when proof of who asks is missing or wrong (401), or is not enough (403)."""

    code = "denied"
    http_status = 401


class ForbiddenError(DeniedError):
    """Raised when the asker is known and may not do this, or comes from a foreign origin."""

    code = "forbidden"
    http_status = 403


class ExistsError(RefusedError):
    """Raised when a run is to be made under an id that another run has, with `resume="never"`."""

    code = "exists"
    http_status = 409


class EndedError(RefusedError):
    """Raised for a command to a run that has ended, or that has nobody who could obey."""

    code = "run-ended"
    http_status = 409


class ConfirmError(RefusedError):
    """Raised for a command that must be confirmed; the message says what would happen."""

    code = "needs-confirmation"
    http_status = 409


class GapError(RefusedError):
    """Raised when a batch starts after the record that the server expects; `details["expected"]` names it."""

    code = "gap"
    http_status = 409


class ForkError(RefusedError):
    """Raised when a batch contradicts the hash of records that the server already has from this writer."""

    code = "fork"
    http_status = 409


class BodyError(RefusedError):
    """Raised for a request body that is cut short, damaged, of another version, or not what it claims to be."""

    code = "bad-body"
    http_status = 422


class LimitError(RefusedError):
    """Raised when a size, count or rate limit of the settings is passed."""

    code = "limit"
    http_status = 413


class BusyError(LimitError):
    """Raised when the server takes no more for now; `details["retry_after_s"]` says when to ask again."""

    code = "busy"
    http_status = 429
    retryable = True


class DiskFullError(LimitError):
    """Raised when the disk is so full that nothing can be kept safely; journals wait on their machines."""

    code = "disk-full"
    http_status = 507
    retryable = True


class DataError(FarwatchError):
    """Raised when bytes on disk are not what was written; the message says what is damaged and what is not."""

    code = "damaged"
    http_status = 500
