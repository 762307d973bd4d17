"""Addresses in answers, on the host that the client used: clients refuse others after the write has succeeded."""

from starlette.requests import Request


def address_of(request: Request) -> str:
    """Scheme and host as the client wrote them, without a slash at the end."""
    return f"{request.url.scheme}://{request.url.netloc}"


def next_page(request: Request, **changed: str) -> dict[str, str]:
    """The Link header of a page that is not the last; clients follow it verbatim."""
    return {"Link": f'<{address_of(request)}{_path_and_query(request, **changed)}>; rel="next"'}


def _path_and_query(request: Request, **changed: str) -> str:
    url = request.url.include_query_params(**changed)
    return f"{url.path}?{url.query}"
