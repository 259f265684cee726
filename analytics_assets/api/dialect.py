"""How the eight resources are asked for on the wire."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Dialect:
    """Parameters and order of an API's listings.

    `offset_param` carries the number of rows to skip, `limit_param` the rows a page; `page_size` is the default of the
    latter. `since_params` names, by resource, the parameter that leaves out rows whose cursor is before an ISO 8601
    instant. The resources in `newest_first` are listed by descending cursor.
    """

    name: str
    offset_param: str
    limit_param: str
    page_size: int
    since_params: Mapping[str, str] = field(default_factory=dict)
    newest_first: frozenset[str] = frozenset()


ANALYTICS = Dialect(name="analytics", offset_param="after", limit_param="limit", page_size=20)
"""The specification's wire format."""

DIALECTS = {dialect.name: dialect for dialect in (ANALYTICS,)}
