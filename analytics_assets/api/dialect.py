"""How the eight resources are asked for on the wire."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """Names and sizes of the paging parameters of an API.

    `offset_param` carries the number of rows to skip, `limit_param` the rows a page; `page_size` is the default of the
    latter.
    """

    name: str
    offset_param: str
    limit_param: str
    page_size: int


ANALYTICS = Dialect(name="analytics", offset_param="after", limit_param="limit", page_size=20)
"""The specification's wire format."""

DIALECTS = {dialect.name: dialect for dialect in (ANALYTICS,)}
