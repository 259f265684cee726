"""The public API that the specification was derived from: NinjaOne RMM, version 2.

For organizations and locations, `after` is the last id of the previous page; for activities it is a date. The API lists
activities by descending id, which is roughly by descending time. `lastActivityId` in the body is the newest id of the
account, so it does not lead to the next page.
"""

import math
from datetime import datetime

from analytics_assets.api.dialects.base import ById, Dialect, Endpoint

LAST_ID = ById("after", size_param="pageSize")


def as_epoch_seconds(moment: datetime) -> str:
    """Writes the last whole second before a point in time: the API does not document whether it includes the bound."""
    return str(max(0, math.ceil(moment.timestamp()) - 1))


NINJAONE = Dialect(
    name="ninjaone",
    page_size=1000,
    least_page_size=10,
    largest_page_size=1000,
    format_datetime=as_epoch_seconds,
    token_path="/ws/oauth/token",  # noqa: S106 - a path
    scope="monitoring",
    hosts=tuple(f"{region}.ninjarmm.com" for region in ("app", "us2", "eu", "ca", "oc", "fed")),
    expired_code=10,
    unreadable_token=400,
    endpoints={
        "organizations": Endpoint("/v2/organizations", pagination=LAST_ID),
        "policies": Endpoint("/v2/policies"),
        "activities": Endpoint(
            "/v2/activities",
            "activities",
            ById("olderThan", size_param="pageSize", descending=True),
            since_param="after",
            until_param="before",
        ),
        "automation_scripts": Endpoint("/v2/automation/scripts"),
        "groups": Endpoint("/v2/groups"),
        "locations": Endpoint("/v2/locations", pagination=LAST_ID),
        "roles": Endpoint("/v2/roles"),
        "software_products": Endpoint("/v2/software-products"),
    },
)
