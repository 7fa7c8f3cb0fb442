"""ApiError: why a request is refused, with its HTTP status and OpenAI's error object"""

from http import HTTPStatus
from typing import Any

KINDS = {HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error"}  # of the other statuses: see `ApiError.body`


class ApiError(Exception):
    """A request that is refused, or that failed.

    Parameters
    ----------
    message : str
    param : str, optional
        The field of the request that is wrong.
    status : int
    code : str, optional
        OpenAI's name for the reason, such as ``model_not_found``.
    headers : dict of str -> str, optional
        More headers of the answer.
    """

    def __init__(
        self,
        message: str,
        param: str | None = None,
        status: int = 400,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message, self.param, self.status, self.code = message, param, HTTPStatus(status), code
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The object that OpenAI's API answers with."""
        kind = KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}
