"""The specification that the tests hold the product against: the eight resources, and both dialects.

It is the tests' own, so that the suite stays as it is when the shipped catalog gets, loses or renames a resource.
"""

import math
from datetime import datetime

from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.connector import Connector
from analytics_assets.api.dialects.base import ById, ByOffset, Dialect, Endpoint

DOCS_URL = "https://app.ninjarmm.com/apidocs/"

RESOURCES: tuple[Resource, ...] = (
    Resource(
        name="organizations",
        description="One row per organization, the customer that devices, locations and policies belong to.",
        limits=("When an organization was edited is unknown: there is no such field.",),
        columns=(
            Column("id", "bigint", "Organization identifier", nullable=False),
            Column("name", "text", "Full name"),
            Column("description", "text", "Description"),
            Column("userData", "json", "Custom attributes"),
            Column("nodeApprovalMode", "text", "How new devices are approved: AUTOMATIC, MANUAL or REJECT"),
            Column("tags", "json", "Tags; newer API versions only"),
            Column("fields", "json", "Custom fields; newer API versions only"),
        ),
    ),
    Resource(
        name="policies",
        description="One row per policy, the set of conditions and schedules that a class of devices is managed by.",
        cursor="updated",
        lag_seconds=60,
        limits=("Conditions and schedules themselves are not in the listing.",),
        columns=(
            Column("id", "bigint", "Policy identifier", nullable=False),
            Column("parentPolicyId", "bigint", "Policy that this one inherits from"),
            Column("name", "text", "Name"),
            Column("description", "text", "Description"),
            Column("nodeClass", "text", "Class of the devices, for example WINDOWS_SERVER; an open set of codes"),
            Column("updated", "timestamp", "When the policy was last edited"),
            Column("nodeClassDefault", "bool", "Whether it is the default policy of its class"),
            Column("tags", "json", "Tags; newer API versions only"),
            Column("fields", "json", "Custom fields; newer API versions only"),
        ),
    ),
    Resource(
        name="activities",
        description=(
            "One row per event in the activity log: what happened on which device, what caused it, and how it ended."
        ),
        cursor="activityTime",
        lag_seconds=300,
        append_only=True,
        limits=(
            "How long the API keeps activities is unknown: those that are gone before the first sync are lost.",
            "Ids are not strictly in the order of time: sort by `activity_time`.",
            "`data` differs by type of activity, and may hold personal data.",
        ),
        columns=(
            Column("id", "bigint", "Activity identifier", nullable=False),
            Column("activityTime", "timestamp", "When it happened"),
            Column("deviceId", "bigint", "Device identifier"),
            Column("severity", "text", "NONE, MINOR, MODERATE, MAJOR or CRITICAL"),
            Column("priority", "text", "NONE, LOW, MEDIUM or HIGH"),
            Column("seriesUid", "text", "UUID of the job or condition that the activity belongs to"),
            Column("activityType", "text", "Code of the type, for example ACTION; an open set"),
            Column("statusCode", "text", "Code of the status, for example COMPLETED; an open set"),
            Column("status", "text", "Status in words"),
            Column("activityResult", "text", "SUCCESS, FAILURE, UNSUPPORTED or UNCOMPLETED"),
            Column("sourceConfigUid", "text", "UUID of the policy element that caused it"),
            Column("sourceName", "text", "Name of the policy element that caused it"),
            Column("subject", "text", "What it is about"),
            Column("userId", "bigint", "User identifier"),
            Column("message", "text", "Message as shown to people"),
            Column("type", "text", "Type in words"),
            Column("data", "json", "Details, by type of activity"),
        ),
    ),
    Resource(
        name="automation_scripts",
        description="One row per script in the automation library.",
        cursor="updatedOn",
        lag_seconds=60,
        limits=("The source of a script is not in the listing.",),
        columns=(
            Column("id", "bigint", "Script identifier", nullable=False),
            Column("name", "text", "Name"),
            Column("description", "text", "Description"),
            Column("active", "bool", "Whether the script can be run"),
            Column("language", "text", "Language of the script"),
            Column("architecture", "json", "Architectures it runs on"),
            Column("operatingSystems", "json", "Operating systems it runs on"),
            Column("scriptParameters", "json", "Parameters it takes"),
            Column("scriptVariables", "json", "Variables it takes"),
            Column("createdBy", "text", "Who created it"),
            Column("lastUpdatedBy", "text", "Who edited it last"),
            Column("createdOn", "timestamp", "When it was created"),
            Column("updatedOn", "timestamp", "When it was last edited"),
        ),
    ),
    Resource(
        name="groups",
        description="One row per device group, a saved search whose membership is evaluated now and then.",
        cursor="updated",
        lag_seconds=60,
        limits=(
            "A group that nobody has edited may lack `updated`: it is loaded when it is new or differs.",
            "Members are not in the listing, and `device_count` is as old as `last_evaluated`.",
        ),
        columns=(
            Column("id", "bigint", "Group identifier", nullable=False),
            Column("name", "text", "Name"),
            Column("description", "text", "Description"),
            Column("shared", "bool", "Whether all users see it"),
            Column("created", "timestamp", "When it was created"),
            Column("updated", "timestamp", "When it was last edited"),
            Column("deviceCount", "bigint", "Number of devices when last evaluated; null when not evaluated lately"),
            Column("lastEvaluated", "timestamp", "When group membership was last evaluated"),
            Column("tags", "json", "Tags; newer API versions only"),
            Column("fields", "json", "Custom fields; newer API versions only"),
        ),
    ),
    Resource(
        name="locations",
        description="One row per location, a site of an organization.",
        limits=("When a location was edited is unknown: there is no such field.",),
        columns=(
            Column("id", "bigint", "Location identifier", nullable=False),
            Column("name", "text", "Name"),
            Column("address", "text", "Address"),
            Column("description", "text", "Description"),
            Column("userData", "json", "Custom attributes"),
            Column("tags", "json", "Tags; newer API versions only"),
            Column("fields", "json", "Custom fields; newer API versions only"),
            Column("organizationId", "bigint", "Organization identifier", references="organizations"),
        ),
    ),
    Resource(
        name="roles",
        description="One row per device role, for example a Windows server or a cloud monitor target.",
        cursor="created",
        lag_seconds=60,
        limits=("An edit does not move `created`: only the weekly reconcile brings it.",),
        columns=(
            Column("id", "bigint", "Role identifier", nullable=False),
            Column("name", "text", "Name"),
            Column("description", "text", "Description"),
            Column("nodeClass", "text", "Class of the devices, for example WINDOWS_SERVER; an open set of codes"),
            Column("custom", "bool", "Whether users defined it"),
            Column("chassisType", "text", "UNKNOWN, DESKTOP, LAPTOP or MOBILE"),
            Column("created", "timestamp", "When it was created; edits do not move it"),
            Column("tags", "json", "Tags; newer API versions only"),
            Column("fields", "json", "Custom fields; newer API versions only"),
            Column("nodeRoleParentId", "bigint", "Role that this one specializes"),
            Column("icon", "text", "Icon"),
        ),
    ),
    Resource(
        name="software_products",
        description="One row per software product that patching knows.",
        limits=("When a product was edited is unknown: there is no such field.",),
        columns=(
            Column("id", "text", "Product identifier, a UUID", nullable=False),
            Column("vendorName", "text", "Name of the vendor"),
            Column("productName", "text", "Name of the product"),
            Column("installable", "bool", "Whether it can be installed remotely"),
            Column("active", "bool", "Whether it is offered"),
        ),
    ),
)

OFFSET = ByOffset("after", size_param="limit")

ANALYTICS = Dialect(
    name="analytics",
    page_size=20,
    endpoints={
        "organizations": Endpoint("/v2/organizations", "data", OFFSET),
        "policies": Endpoint("/v2/policies", "data"),
        "activities": Endpoint("/v2/activities", "activities", OFFSET),
        "automation_scripts": Endpoint("/v2/automation/scripts", "data"),
        "groups": Endpoint("/v2/groups", "data"),
        "locations": Endpoint("/v2/locations", "data", OFFSET),
        "roles": Endpoint("/v2/roles", "data"),
        "software_products": Endpoint("/v2/software-products", "data"),
    },
)

LAST_ID = ById("after", size_param="pageSize")


def as_epoch_seconds(moment: datetime) -> str:
    return str(max(0, math.ceil(moment.timestamp()) - 1))


NINJAONE = Dialect(
    name="ninjaone",
    page_size=1000,
    least_page_size=10,
    largest_page_size=1000,
    format_datetime=as_epoch_seconds,
    token_path="/ws/oauth/token",
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

EIGHT = Connector("analytics", RESOURCES, (ANALYTICS, NINJAONE), DOCS_URL)
