"""Small rows of each resource, as the API would send them."""

from typing import Any

from analytics_assets.demo.exchange import Row

MAY = 1_714_521_600
"""The first of May 2024 in epoch seconds."""


def organization(number: int, **fields: Any) -> Row:
    return {"id": number, "name": f"Organization {number}", "userData": {"tier": {"level": number}}, **fields}


def location(number: int, **fields: Any) -> Row:
    return {"id": number, "name": f"Location {number}", "organizationId": 1, **fields}


def policy(number: int, updated: Any = "2024-05-01T00:00:00Z", **fields: Any) -> Row:
    return {"id": number, "name": f"Policy {number}", "updated": updated, "nodeClassDefault": False, **fields}


def activity(number: int, moment: Any = "2024-05-01T00:00:00Z", **fields: Any) -> Row:
    return {"id": number, "activityTime": moment, "message": f"Activity {number}", "data": {"n": [number]}, **fields}


def script(number: int, updated: Any = "2024-05-01T00:00:00Z", **fields: Any) -> Row:
    return {"id": number, "name": f"Script {number}", "operatingSystems": ["Linux"], "updatedOn": updated, **fields}


def group(number: int, updated: Any = "2024-05-01T00:00:00Z", **fields: Any) -> Row:
    return {"id": number, "name": f"Group {number}", "updated": updated, "deviceCount": None, **fields}


def role(number: int, created: Any = "2024-05-01T00:00:00Z", **fields: Any) -> Row:
    return {"id": number, "name": f"Role {number}", "created": created, "custom": True, **fields}


def product(number: int, **fields: Any) -> Row:
    return {"id": f"00000000-0000-4000-8000-{number:012}", "productName": f"Product {number}", "active": True, **fields}


def events(first: int, last: int) -> list[Row]:
    """Activities a second apart, whose ids follow their times but for some that are a few seconds late."""
    return [activity(n, MAY + n - 7 * (n % 5 == 0)) for n in range(first, last + 1)]


def small_rows() -> dict[str, list[Row]]:
    """A few rows of each; more than a page of those that are paged."""
    return {
        "organizations": [organization(n) for n in range(1, 46)],
        "policies": [policy(n) for n in range(1, 4)],
        "activities": [activity(n, f"2024-05-01T00:{n:02}:00Z") for n in range(1, 42)],
        "automation_scripts": [script(n) for n in range(1, 4)],
        "groups": [group(n) for n in range(1, 4)],
        "locations": [location(n) for n in range(1, 21)],
        "roles": [role(n) for n in range(1, 4)],
        "software_products": [product(n) for n in range(1, 4)],
    }
