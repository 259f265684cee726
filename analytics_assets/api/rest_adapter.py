"""Lets dlt's `rest_api` ask a listing instead of the API."""

from typing import TYPE_CHECKING, Any

from dlt.sources.helpers.rest_client.paginators import BasePaginator
from requests import PreparedRequest, Request, Response
from requests.adapters import BaseAdapter

if TYPE_CHECKING:
    pass
from analytics_assets.api.listing import Listing

ROWS_KEY = "rows"
"""The key of the rows in what dlt is answered, whatever the API's own is."""


class ListingAdapter(BaseAdapter):
    """Answers dlt's requests from a listing. Its first request of a listing carries the parameters for the wire."""

    def __init__(self, listing: Listing) -> None:
        super().__init__()
        self._listing = listing

    def __deepcopy__(self, memo: dict[int, Any]) -> "ListingAdapter":
        """Itself, as above."""
        return self

    def send(self, request: PreparedRequest, *_args: Any, **_options: Any) -> Response:  # noqa: ANN401 - as requests has it
        """The next batch."""
        response = _Response({ROWS_KEY: [self._listing.next_batch()]})
        response.status_code = 200
        response.request = request
        response.url = request.url or ""
        return response

    def close(self) -> None:
        """Stops reading."""
        self._listing.stop()


class UntilLast(BasePaginator):
    """Asks for batches until the last."""

    def __init__(self, listing: Listing) -> None:
        super().__init__()
        self._listing = listing

    def init_request(self, request: Request) -> None:
        """Starts the listing."""
        self._has_next_page = True
        self._listing.start(dict(request.params or {}))

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:  # noqa: ARG002 - dlt's signature
        """A batch knows whether it is the last."""
        self._has_next_page = not (data and data[0].is_last)

    def update_request(self, request: Request) -> None:
        """The same request again: the adapter knows which batch is next."""


class _Response(Response):
    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__()
        self._body = body
        self._content = b""

    def json(self, **_options: Any) -> dict[str, Any]:  # noqa: ANN401 - as requests has it
        return self._body
