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
from analytics_assets_tests.support.checkout import CHECKOUT

ID = Column("id", "bigint", "Identifier", nullable=False)
NAME = Column("name", "text", "Name")
SEEN = Column("lastSeen", "timestamp", "When it was seen")
DEVICES = Resource("devices", "Devices", (ID, NAME, SEEN), cursor="lastSeen")
BIGIT: Any = "bigit"
STRING: Any = "String"
ENDPOINT = Endpoint("/devices", "data")


def dialect(**endpoints: Any) -> Dialect:
    return Dialect("vendor", endpoints, page_size=20)


def mistakes(**fields: Any) -> list[str]:
    """Of the devices with other fields."""
    return find_mistakes([replace(DEVICES, **fields)], [dialect(**{fields.get("name", "devices"): ENDPOINT})])


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
        ({"columns": ID}, "devices: columns is no tuple but of the type Column: a tuple of one entry needs a comma"),
        ({"hashed": "name"}, "devices: hashed is no tuple but of the type str"),
        ({"columns": (ID, (NAME,), SEEN)}, "devices: column 2 is no Column but a tuple: there is a comma"),
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
        ({"key": ()}, "devices: the key () is neither the name of a field nor a tuple of several"),
        ({"key": ["id"]}, "devices: the key ['id'] is neither"),
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
    assert tuple_.startswith("entry 1 (devices) is no Resource but a tuple: there is a comma behind its closing")
    assert other == "entry 2 is no Resource but of the type str"


def test_a_name_twice_is_a_mistake() -> None:
    assert find_mistakes([DEVICES, DEVICES], [dialect(devices=ENDPOINT)])[0] == "devices: 2 resources have this name"


@pytest.mark.parametrize(
    ("resource", "endpoints", "said"),
    [
        (DEVICES, {}, "dialect vendor: there is no endpoint for the resource devices"),
        (
            DEVICES,
            {"devices": ENDPOINT, "device": ENDPOINT},
            "dialect vendor: the endpoint 'device' belongs to no resource (did you mean 'devices'?)",
        ),
        (DEVICES, {"devices": (ENDPOINT,)}, "dialect vendor: the endpoint 'devices' is no Endpoint but a tuple"),
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
    kind: Any = APIKeyAuth
    assert find_mistakes([DEVICES], [replace(dialect(devices=child), auth=kind)]) == [
        "dialect vendor: auth is the class APIKeyAuth: call it, as in APIKeyAuth(...).",
        "dialect vendor: devices has the parent 'site', which has no endpoint.",
    ]


def test_one_error_lists_all_mistakes() -> None:
    wrong: Any = ((replace(DEVICES, cursor="seen", lag_seconds=-5),),)
    with pytest.raises(CatalogError) as caught:
        check_catalog(Connector("crm", wrong, (dialect(),)))
    first, *others = str(caught.value).split("\n- ")
    assert first == "The catalog has 4 mistakes:"
    assert [other.partition(" is ")[0] for other in others] == [
        "entry 1 (devices)",
        "devices: lag_seconds",
        "devices: the cursor 'seen'",
        "dialect vendor: there",
    ]


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
    assert said[1].startswith(f"- entry {len(SHIPPED.resources) + 1} (wrong) is no Resource but a tuple")
    assert "(did you mean 'bigint'?)" in said[2]
