"""Lets dlt's `rest_api` ask a listing for batches instead of the API for pages."""

from typing import Any

from dlt.sources.helpers.rest_client.paginators import BasePaginator
from requests import PreparedRequest, Request, Response
from requests.adapters import BaseAdapter

from analytics_assets.api.listing import Listing

ROWS_KEY = "rows"
"""Key of the batch in the body that dlt gets, whatever selector the API has."""


class ListingAdapter(BaseAdapter):
    """Answers each of dlt's requests with the next batch of a listing."""

    def __init__(self, listing: Listing) -> None:
        super().__init__()
        self._listing = listing

    def __deepcopy__(self, memo: dict[int, Any]) -> "ListingAdapter":
        """Returns the adapter itself: dlt copies the configuration of a source to validate it."""
        return self

    def send(self, request: PreparedRequest, *_args: Any, **_options: Any) -> Response:  # noqa: ANN401 - as requests has it
        """Returns a response whose body holds the next batch.

        Raises:
            Exception: The transport, the validation or the pagination failed with this error.
        """
        response = _Response({ROWS_KEY: [self._listing.next_batch()]})
        response.status_code = 200
        response.request = request
        response.url = request.url or ""
        return response

    def close(self) -> None:
        """Stops the listing."""
        self._listing.stop()


class UntilLast(BasePaginator):
    """Makes dlt ask for batches until one says that it is the last."""

    def __init__(self, listing: Listing) -> None:
        super().__init__()
        self._listing = listing

    def init_request(self, request: Request) -> None:
        """Starts the listing with the parameters of dlt's first request, such as the cursor filter."""
        self._has_next_page = True
        self._listing.start(dict(request.params or {}))

    def update_state(self, response: Response, data: list[Any] | None = None) -> None:  # noqa: ARG002 - dlt's signature
        """Ends after the last batch."""
        self._has_next_page = not (data and data[0].is_last)

    def update_request(self, request: Request) -> None:
        """Leaves the request as it is: the listing knows which batch is next."""


class _Response(Response):
    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__()
        self._body = body
        self._content = b""

    def json(self, **_options: Any) -> dict[str, Any]:  # noqa: ANN401 - as requests has it
        return self._body
