"""Errors, named by what the caller does next.

    TruelineError
    ├── ConfigError      fix what the message names, then start again
    ├── RetryLater       weather: wait `wait_s`, then try the same thing again
    ├── NeverRetry       this input will never be good: quarantine it with `reason` and go on
    │   └── NotAuthentic nobody we know signed this: count it, drop it, answer nothing
    └── SpoolUnsafe      durable storage broke its word: accept no more, restart

Anything else is a bug and ends the process.
"""

__all__ = ["ConfigError", "NeverRetry", "NotAuthentic", "RetryLater", "SpoolUnsafe", "TruelineError"]


class TruelineError(Exception):
    """Whatever Trueline raises on purpose."""


class ConfigError(TruelineError):
    """Something a person wrote has to be mended; the message names the place and the mend."""


class RetryLater(TruelineError):  # noqa: N818 - named by what the caller does
    """Not now. The same call may succeed after `wait_s` seconds."""

    def __init__(self, message: str, wait_s: float = 1.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class NeverRetry(TruelineError):  # noqa: N818 - named by what the caller does
    """The input is bad and stays bad: keep it aside with this reason, and go on behind it."""

    @property
    def reason(self) -> str:
        """Why, in one line."""
        return str(self)


class NotAuthentic(NeverRetry):
    """The message does not carry the signature of a key we trust for its sender."""


class SpoolUnsafe(TruelineError):  # noqa: N818 - named by what the caller does
    """A sync failed or the database broke its word: what was promised durable may not be. Stop, and restart."""
