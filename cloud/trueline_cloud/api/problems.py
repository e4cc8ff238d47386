"""What went wrong with a request, told to its sender: always {"error", "hint"}, the parameter and the mend by name."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Answer", "ProblemError", "problem_answer"]

_HINTS: Final = {
    400: "see /openapi.json for what is asked how",
    404: "see /openapi.json for all paths, and /api/v1/devices for the devices",
    405: "everything here is read with GET",
    413: "nothing here takes a body of this size",
    500: "this is a mistake of ours: the service's log holds the details",
}


class ProblemError(Exception):
    """An answer that is not the one hoped for.

    Args:
        status: the HTTP status.
        error: what is wrong, naming the parameter.
        hint: what the sender can do about it.
    """

    def __init__(self, status: int, error: str, hint: str) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.hint = hint


class Answer(Response):
    """JSON, encoded by msgspec: NaN becomes null, and arrays are not validated on their way out."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        """Encode, unless it is encoded already."""
        return content if isinstance(content, bytes) else msgspec.json.encode(content)


def problem_answer(status: int, error: str = "", hint: str = "", headers: Mapping[str, str] | None = None) -> Answer:
    """A problem as a response; where nothing better is known, the words of the status."""
    body = {"error": error or HTTPStatus(status).phrase.lower(), "hint": hint or _HINTS.get(status, _HINTS[400])}
    return Answer(body, status, {"Cache-Control": "no-store", **(headers or {})})
