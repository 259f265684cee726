"""The eight resources as data: what the API offers, and what a row of each looks like.

To add a ninth resource, add an entry to `RESOURCES` and an endpoint to each dialect in `dialects/`: its asset, table,
column descriptions, checks, freshness policy and made-up rows of the demo follow from them, and the tests of what is
shipped go over it, too. Nothing here does any work or imports a library.

The cursors come from the specification. Columns, types and nullability come from the OpenAPI document (version
2.0.9-draft) of the public API that the specification describes. That document requires no field at all, so only the
primary key is declared as not null.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

ColumnType = Literal["bigint", "bool", "date", "decimal", "double", "json", "text", "timestamp"]

DELETED_AT = "deleted_at"
RESCUED = "_rescued_data"

DOCS_URL = "https://app.ninjarmm.com/apidocs/"
"""Documentation of the public API that the columns come from. `base_url` may be another API like it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A declared field of a resource, and the column that it becomes."""

    name: str
    """The field as the API spells it (`activityTime`); dlt's snake case of it (`activity_time`) names the column.

    May be a path into nested objects (`meta.updatedAt`), unless the row has a field of just that name.
    """
    type: ColumnType
    """dlt data type of the column."""
    description: str
    nullable: bool = True
    """Whether a check accepts null."""
    references: str | None = None
    """Name of the resource whose key the field holds; a check then reports keys that its table lacks."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A list of things that the API has, and the table that its rows become. Its endpoint differs by dialect.

    What is wrong in an entry, `mistakes.find_mistakes` says, of all entries at once.
    """

    name: str
    """Name of the table and of the asset."""
    description: str
    columns: tuple[Column, ...]
    key: str | tuple[str, ...] = "id"
    """Field that tells one row from another, or several that do so together; rows are merged on it."""
    cursor: str | None = None
    """Field that tells which rows are new, as the API spells it; `None` if every sync loads all rows."""
    lag_seconds: int = 0
    """Seconds before the newest cursor value at which the next sync starts, for rows that appear late."""
    append_only: bool = False
    """Whether rows are events: they are never edited, and never marked as deleted."""
    limits: tuple[str, ...] = ()
    """Sentences that say what the table cannot tell, because the API does not tell it."""
    hashed: tuple[str, ...] = ()
    """Paths of fields of which only the hash reaches the warehouse, messages and logs (see `masking.mask`).

    A path is in the API's spelling, such as `data.message.params.email`. A list on the way stands for all its items.
    """
    dropped: tuple[str, ...] = ()
    """Paths of fields that reach neither the warehouse nor a message or log; spelled like those of `hashed`."""

    @property
    def key_names(self) -> tuple[str, ...]:
        """The fields of the primary key."""
        return (self.key,) if isinstance(self.key, str) else self.key

    @property
    def key_types(self) -> tuple[ColumnType, ...]:
        """The dlt data type of each field of the primary key: `bigint` or `text`."""
        types = {column.name: column.type for column in self.columns}
        return tuple(types[name] for name in self.key_names)

    @property
    def key_label(self) -> str:
        """The fields of the primary key as messages name them."""
        return ", ".join(self.key_names)

    @property
    def is_sensitive(self) -> bool:
        """Whether the resource has fields whose values must not be shown."""
        return bool(self.hashed or self.dropped)

    @property
    def table_columns(self) -> tuple[Column, ...]:
        """The declared columns, the column of rescued values and, unless rows are events, the mark of deleted rows."""
        rescued = Column(RESCUED, "json", "Values that do not fit their column, by field; null while all fit")
        if self.append_only:
            return (*self.columns, rescued)
        mark = Column(DELETED_AT, "timestamp", "When a full listing first lacked the row; null while it is live")
        return (*self.columns, rescued, mark)


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


def load_order(resources: Iterable[Resource]) -> list[Resource]:
    """Returns the resources in the order in which a run loads them: the catalog's, but events last.

    The listing of the events is the longest by far. It is read ahead while the other resources are loaded.
    """
    return sorted(resources, key=lambda resource: resource.append_only)
