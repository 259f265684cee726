"""Mistakes in the catalog: each is named with its place, and all of them at once."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dlt.sources.helpers.rest_client.auth import APIKeyAuth

from analytics_assets.api.catalog import Column, Resource
from analytics_assets.api.connector import SHIPPED, Connector
from analytics_assets.api.dialects.base import ById, Dialect, Endpoint, Parent
from analytics_assets.api.mistakes import CatalogError, check_catalog, find_mistakes
from analytics_assets.definitions import build_definitions
from analytics_assets.defs.names import name_all
from analytics_assets.defs.reports.assets import REPORTS
from analytics_assets_tests.support.checkout import CHECKOUT

ID = Column("id", "bigint", "Identifier", nullable=False)
NAME = Column("name", "text", "Name")
SEEN = Column("lastSeen", "timestamp", "When it was seen")
DEVICES = Resource("devices", "Devices", (ID, NAME, SEEN), cursor="lastSeen")
BIGIT: Any = "bigit"
STRING: Any = "String"
NOTHING: Any = None
ENDPOINT = Endpoint("/devices", "data")


def dialect(**endpoints: Any) -> Dialect:
    return Dialect("vendor", endpoints, page_size=20)


def mistakes(**fields: Any) -> list[str]:
    """Of the devices with other fields."""
    return find_mistakes([replace(DEVICES, **fields)], [dialect(**{str(fields.get("name", "devices")): ENDPOINT})])


def test_what_is_shipped_has_none() -> None:
    assert find_mistakes(SHIPPED.resources, SHIPPED.dialects) == []
    assert mistakes() == []
    assert mistakes(key=("id", "name"), columns=(ID, replace(NAME, nullable=False), SEEN)) == []
    assert mistakes(columns=(ID, Column("meta.at", "timestamp", "")), cursor="meta.at", hashed=("meta.owner",)) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "Devices"}, "Devices: the name is also that of a table"),
        ({"name": "device-list"}, "63 characters at most, such as 'device_list'"),
        ({"name": "2nd"}, "2nd: the name is also"),
        ({"name": "a__b"}, "a__b: the name is also"),
        ({"name": "a" * 64}, "63 characters at most"),
        ({"columns": ()}, "devices: it has no columns"),
        ({"columns": ID}, "devices: columns is a Column, and has to be a tuple: a tuple of one entry needs a comma"),
        ({"columns": [ID]}, "devices: columns is a list, and has to be a tuple: write it with parentheses"),
        ({"columns": ("id",)}, "devices: columns: entry 1 is a text, and has to be a Column"),
        (
            {"columns": (ID, (NAME,), SEEN)},
            "devices: columns: entry 2 (name) is a tuple, and has to be a Column: there is a comma",
        ),
        ({"columns": (ID, replace(NAME, name=NOTHING))}, "devices: column 2: name is None, and has to be a text"),
        (
            {"columns": (ID, replace(NAME, nullable=STRING))},
            "the column 'name': nullable is a text, and has to be True or",
        ),
        ({"hashed": "name"}, "devices: hashed is a text, and has to be a tuple: a tuple of one entry needs a comma"),
        ({"hashed": (None,)}, "devices: hashed: entry 1 is None, and has to be a text"),
        ({"name": None}, "resource 1: name is None, and has to be a text"),
        ({"lag_seconds": "60"}, "devices: lag_seconds is a text, and has to be a whole number"),
        ({"lag_seconds": float("inf")}, "devices: lag_seconds is inf, and has to be a whole number"),
        ({"lag_seconds": True}, "devices: lag_seconds is True, and has to be a whole number"),
        ({"cursor": ["lastSeen"]}, "devices: cursor is a list, and has to be a text or None"),
        ({"columns": (ID, SEEN, NAME, NAME)}, "devices: the column 'name' is declared twice"),
        (
            {"columns": (ID, SEEN, Column("aB", "text", ""), Column("a_b", "text", ""))},
            "devices: 'a_b' and 'aB' would both be the column a_b",
        ),
        ({"columns": (ID, SEEN, Column("deletedAt", "text", ""))}, "'deleted_at' is a reserved name"),
        ({"columns": (ID, SEEN, Column("_dlt_id", "text", ""))}, "'_dlt_id' is a reserved name"),
        ({"columns": (ID, SEEN, Column("xmin", "text", ""))}, "'xmin' is a reserved name"),
        ({"columns": (ID, SEEN, Column(" ", "text", ""))}, "devices: the column ' ' cannot be declared"),
        (
            {"columns": (ID, SEEN, Column("size", BIGIT, ""))},
            "devices: the column 'size' has the type 'bigit', which is none of bigint, bool, date, ",
        ),
        ({"columns": (ID, SEEN, Column("size", BIGIT, ""))}, "timestamp (did you mean 'bigint'?)"),
        ({"columns": (ID, SEEN, Column("size", STRING, ""))}, "timestamp (did you mean 'text'?)"),
        ({"key": "uid"}, "devices: the key 'uid' is no declared column (did you mean 'id'?)"),
        ({"key": ("id", "site")}, "devices: the key 'site' is no declared column"),
        ({"key": ("id", "id")}, "devices: the key names 'id' twice"),
        ({"key": ()}, "devices: the key is empty"),
        ({"key": ["id"]}, "devices: key is a list, and has to be a text or a tuple: write it with parentheses"),
        ({"key": "name"}, "devices: the key 'name' may be null: declare it with nullable=False"),
        (
            {"columns": (Column("id", "double", "", nullable=False), SEEN)},
            "devices: the key 'id' has the type double, and a key is bigint or text",
        ),
        ({"key": "a.b", "columns": (Column("a.b", "text", "", nullable=False), SEEN)}, "the key 'a.b' is a path"),
        ({"columns": (ID, SEEN, Column("id.x", "text", ""))}, "devices: the column 'id.x' leads into the key"),
        ({"cursor": "lastSeem"}, "devices: the cursor 'lastSeem' is no declared column (did you mean 'lastSeen'?)"),
        ({"cursor": "name"}, "devices: the cursor 'name' has the type text, and a cursor is a timestamp"),
        ({"lag_seconds": -1}, "devices: lag_seconds is -1, and has to be 0 or more"),
        (
            {"columns": (ID, SEEN, Column("siteId", "bigint", "", references="device"))},
            "devices: the column 'siteId' references 'device', which is no resource (did you mean 'devices'?)",
        ),
        (
            {"columns": (ID, SEEN, Column("parent", "text", "", references="devices"))},
            "devices: the column 'parent' references 'devices', whose key is bigint, but its own type is text",
        ),
        ({"hashed": ("id",)}, "devices: id is needed as it is: id is the key or the cursor"),
        ({"dropped": ("lastSeen",)}, "devices: lastSeen is needed as it is"),
        ({"dropped": ("name",)}, "devices: name is dropped, so name can be no column: remove it from columns"),
        (
            {"columns": (ID, SEEN, Column("meta.size", "bigint", "")), "hashed": ("meta",)},
            "devices: meta is hashed to text, and the column meta.size is bigint: declare it as text or json",
        ),
        (
            {"columns": (ID, Column("meta.at", "timestamp", "")), "cursor": "meta.at", "dropped": ("meta",)},
            "devices: meta is needed as it is: meta.at is the key or the cursor",
        ),
    ],
)
def test_a_mistake_in_an_entry_is_named_with_its_place(fields: dict[str, Any], said: str) -> None:
    found = mistakes(**fields)
    assert [mistake for mistake in found if said in mistake], found


def test_a_reference_to_a_resource_with_a_key_of_several_fields_is_a_mistake() -> None:
    key = ("id", "name")
    sites = Resource("sites", "Sites", (ID, replace(NAME, nullable=False)), key=key)
    devices = replace(DEVICES, columns=(ID, SEEN, Column("siteId", "bigint", "", references="sites")))
    [found] = find_mistakes([sites, devices], [dialect(sites=ENDPOINT, devices=ENDPOINT)])
    assert found.startswith("devices: the column 'siteId' references 'sites', whose key has several fields")


def test_what_is_no_resource_is_a_mistake_and_is_looked_into() -> None:
    [tuple_, other] = find_mistakes([(DEVICES,), "sites"], [dialect(devices=ENDPOINT)])
    assert tuple_.startswith(
        "resources: entry 1 (devices) is a tuple, and has to be a Resource: there is a comma behind"
    )
    assert other == "resources: entry 2 is a text, and has to be a Resource"


def test_a_name_twice_is_a_mistake() -> None:
    assert find_mistakes([DEVICES, DEVICES], [dialect(devices=ENDPOINT)])[0] == "devices: 2 resources have this name"
    vendor = dialect(devices=ENDPOINT)
    assert find_mistakes([DEVICES], [vendor, vendor]) == ["dialect vendor: 2 dialects have this name"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": None}, ["connector: name is None, and has to be a text"]),
        ({"name": "crm__eu"}, ["connector 'crm__eu': its name is no word in snake case, such as crm or crm_eu"]),
        ({"name": "c" * 55}, []),
        (
            {"name": "c" * 56},
            [f"connector {'c' * 56}: with the resource devices it makes a name of 64 characters, and dlt's schemas"],
        ),
        ({"dataset_name": 5}, ["connector crm: dataset_name is 5, and has to be a text or None"]),
        ({"left_out": None}, ["connector crm: left_out is None, and has to be a set"]),
        ({"resources": DEVICES}, ["resources is a Resource, and has to be a tuple or a list: a tuple of one entry"]),
        ({"resources": [DEVICES], "dialects": [dialect(devices=ENDPOINT)]}, []),
        ({"dialects": None}, ["dialects is None, and has to be a tuple or a list"]),
        ({"dialects": iter(())}, ["dialects is a tuple_iterator, and has to be a tuple or a list"]),
        ({"dialects": (None,)}, ["dialects: entry 1 is None, and has to be a Dialect"]),
        ({"dialects": ()}, ["connector crm: it has no dialects"]),
    ],
)
def test_a_mistake_of_the_connector_itself_is_named(fields: dict[str, Any], said: list[str]) -> None:
    connector = Connector(
        **{"name": "crm", "resources": (DEVICES,), "dialects": (dialect(devices=ENDPOINT),), **fields}
    )
    found: list[str] = []
    try:
        check_catalog(connector)
    except CatalogError as error:
        found = str(error).split("\n- ")[1:]
    assert [mistake[: len(start)] for mistake, start in zip(found, said, strict=True)] == said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"endpoints": None}, "endpoints is None, and has to be a mapping"),
        ({"endpoints": [ENDPOINT]}, "endpoints is a list, and has to be a mapping"),
        ({"endpoints": {"devices": None}}, "endpoints: the value of 'devices' is None, and has to be an Endpoint"),
        ({"page_size": "20"}, "page_size is a text, and has to be a whole number"),
        ({"format_datetime": "%Y"}, "format_datetime is a text, and has to be a function"),
        ({"headers": {5: "a"}}, "headers has the key 5, and its keys have to be texts"),
    ],
)
def test_a_field_of_a_dialect_with_a_wrong_type_is_named(fields: dict[str, Any], said: str) -> None:
    assert find_mistakes([DEVICES], [replace(dialect(devices=ENDPOINT), **fields)]) == [f"dialect vendor: {said}"]


def test_a_resource_with_a_wrong_type_is_still_one_that_others_refer_to() -> None:
    wrong: Any = {"key": None}
    devices = replace(DEVICES, columns=(ID, SEEN, Column("siteId", "bigint", "", references="sites")))
    sites = replace(Resource("sites", "Sites", (ID,)), **wrong)
    paged = Endpoint("/sites", pagination=ById("after", "size"))
    assert find_mistakes([sites, devices], [dialect(sites=paged, devices=ENDPOINT)]) == [
        "sites: key is None, and has to be a text or a tuple"
    ]


@pytest.mark.parametrize(
    ("resource", "endpoints", "said"),
    [
        (DEVICES, {}, "dialect vendor: there is no endpoint for the resource devices"),
        (
            DEVICES,
            {"devices": ENDPOINT, "device": ENDPOINT},
            "dialect vendor: the endpoint 'device' belongs to no resource (did you mean 'devices'?)",
        ),
        (
            DEVICES,
            {"devices": (ENDPOINT,)},
            "dialect vendor: endpoints: the value of 'devices' is a tuple, and has to be an Endpoint: there",
        ),
        (
            replace(DEVICES, columns=(replace(ID, type="text"), SEEN)),
            {"devices": Endpoint("/devices", pagination=ById("after", "size"))},
            "dialect vendor: devices: it is paged by id, which takes integers, but its key is text",
        ),
        (
            replace(DEVICES, key=("id", "name"), columns=(ID, replace(NAME, nullable=False), SEEN)),
            {"devices": Endpoint("/devices", pagination=ById("after", "size"))},
            "dialect vendor: devices: it is paged by id, but its key has several fields: id, name",
        ),
        (
            replace(DEVICES, append_only=True, cursor=None),
            {"devices": Endpoint("/devices", pagination=ById("after", "size", descending=True))},
            "dialect vendor: devices: events that are listed from the newest id down need a cursor",
        ),
    ],
)
def test_a_mistake_in_a_dialect_is_named_with_its_place(
    resource: Resource, endpoints: dict[str, Any], said: str
) -> None:
    [found] = find_mistakes([resource], [dialect(**endpoints)])
    assert found.startswith(said)


@pytest.mark.parametrize(
    ("parent", "child", "field", "said"),
    [
        ({"hashed": ("name",)}, {}, "name", "sites.name"),
        ({"dropped": ("name",)}, {}, "name", "sites.name"),
        ({"hashed": ("meta",)}, {}, "meta.name", "sites.meta.name"),
        ({"dropped": ("meta.name",)}, {}, "meta", "sites.meta"),
        ({}, {"hashed": ("site",)}, "name", "devices.site"),
    ],
)
def test_a_sensitive_field_must_not_stand_in_a_path(
    parent: dict[str, Any], child: dict[str, Any], field: str, said: str
) -> None:
    sites = Resource("sites", "Sites", (ID,), **parent)
    devices = replace(DEVICES, **child)
    endpoint = Endpoint("/sites/{site}/devices", parent=Parent("sites", {"site": field}))
    [found] = find_mistakes([sites, devices], [dialect(sites=ENDPOINT, devices=endpoint)])
    assert found.startswith(
        f"dialect vendor: devices: the placeholder {{site}} shows {said}, which is hashed or dropped, in paths"
    )
    assert "take another field of sites, such as its key id" in found


def test_mistakes_of_the_dialect_itself_are_listed_with_those_of_its_endpoints() -> None:
    child = Endpoint("/sites/{siteId}/devices", parent=Parent("site", {"siteId": "id"}))
    assert find_mistakes([DEVICES], [replace(dialect(devices=child), auth=APIKeyAuth(location="cookie"))]) == [
        'dialect vendor: auth is APIKeyAuth(location="cookie"), which dlt does not implement: use "header" or "query"',
        "dialect vendor: devices has the parent 'site', which has no endpoint",
    ]


def test_one_error_lists_all_mistakes() -> None:
    wrong: Any = ((replace(DEVICES, cursor="seen", lag_seconds=-5),),)
    with pytest.raises(CatalogError) as caught:
        check_catalog(Connector("crm", wrong, (dialect(),)))
    first, *others = str(caught.value).split("\n- ")
    assert first == "The catalog has 4 mistakes:"
    assert [other.partition(" is ")[0] for other in others] == [
        "resources: entry 1 (devices)",
        "devices: lag_seconds",
        "devices: the cursor 'seen'",
        "dialect vendor: there",
    ]


def test_wrong_resources_are_said_when_definitions_are_built_with_reports() -> None:
    nothing: Any = None
    with pytest.raises(CatalogError, match="resources is None, and has to be a tuple or a list"):
        build_definitions(name_all(replace(SHIPPED, resources=nothing)), reports=REPORTS)


def test_the_definitions_do_not_load_and_say_why(tmp_path: Path) -> None:
    code = """
import analytics_assets.api.catalog as catalog
wrong = catalog.Resource("wrong", "Wrong", (catalog.Column("id", "int", "Id"),)),
catalog.RESOURCES = (*catalog.RESOURCES, wrong)
import analytics_assets.definitions
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    said = done.stderr.strip().rpartition("CatalogError: ")[2].splitlines()
    # Each dialect lacks the endpoint.
    assert said[0] == f"The catalog has {3 + len(SHIPPED.dialects)} mistakes:"
    assert said[1].startswith(
        f"- resources: entry {len(SHIPPED.resources) + 1} (wrong) is a tuple, and has to be a Resource"
    )
    assert "(did you mean 'bigint'?)" in said[2]
