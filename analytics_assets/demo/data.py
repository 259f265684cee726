"""The rows of the demo API: a pure function of the time, so that they are reproducible and yet alive.

As time passes, activities happen (one every five minutes, kept for two weeks), policies, scripts and groups are edited,
and now and then an organization, a location or a role is added and a software product withdrawn.
"""

import random
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

Row = dict[str, Any]

ORIGIN = datetime(2026, 1, 5, tzinfo=timezone.utc)
"""When the demo's world begins; every count of weeks, edits and activities starts here."""

ACTIVITY_EVERY = timedelta(minutes=5)
ACTIVITIES_KEPT = timedelta(days=14)

CITIES = ("Aarhus", "Bergen", "Cork", "Dresden", "Evora", "Ferrara", "Ghent", "Haarlem", "Innsbruck", "Jena", "Krakow")
TRADES = ("Logistics", "Dental", "Foods", "Legal", "Robotics", "Textiles", "Energy", "Media", "Travel", "Optics")
CLASSES = ("WINDOWS_SERVER", "WINDOWS_WORKSTATION", "MAC", "LINUX_SERVER", "LINUX_WORKSTATION", "CLOUD_MONITOR_TARGET")
LANGUAGES = ("powershell", "sh", "python", "batchfile", "javascript")
STATUSES = (("START_REQUESTED", "Start requested"), ("STARTED", "Started"), ("COMPLETED", "Completed"))
TYPES = (("ACTION", "Action"), ("CONDITION", "Condition"), ("SCHEDULED_TASK", "Scheduled task"), ("SYSTEM", "System"))
SEVERITIES = ("NONE", "NONE", "NONE", "MINOR", "MODERATE", "MAJOR", "CRITICAL")
PRIORITIES = ("NONE", "LOW", "MEDIUM", "HIGH")


def read_rows(path: str, now: datetime, after: int, limit: int | None) -> list[Row] | None:
    """Rows of the listing at `path` as of `now`: `limit` rows after the first `after`, or all that follow.

    Returns `None` for an unknown path.
    """
    if path == "/v2/activities":
        return _activities(now, after, limit)
    if path not in LISTINGS:
        return None
    rows = list(LISTINGS[path](now))
    return rows[after:] if limit is None else rows[after : after + limit]


def _dice(kind: str, number: int) -> random.Random:
    return random.Random(f"{kind}:{number}")  # noqa: S311 - made-up data, not cryptography


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _weeks(now: datetime) -> int:
    return max(0, (now - ORIGIN) // timedelta(weeks=1))


def _last_edit(kind: str, number: int, now: datetime, every: timedelta) -> tuple[int, datetime]:
    """How often a row has been edited until now, and when last: about every `every`, at a time of its own."""
    dice = _dice(f"{kind} edit", number)
    rhythm = every * dice.uniform(0.6, 1.6)
    phase = rhythm * dice.random()
    edits = max(0, (now - ORIGIN - phase) // rhythm)
    return edits, (ORIGIN + phase + edits * rhythm).replace(microsecond=0)


def _organizations(now: datetime) -> Iterable[Row]:
    for number in range(1, 25 + _weeks(now) // 2):
        dice = _dice("organization", number)
        row: Row = {
            "id": number,
            "name": f"{dice.choice(CITIES)} {dice.choice(TRADES)}",
            "description": None if number % 5 == 0 else f"Customer since {2015 + number % 11}",
            "userData": {
                "tier": dice.choice(("gold", "silver", "bronze")),
                "contract": {"seats": dice.randint(5, 500)},
            },
            "nodeApprovalMode": dice.choice(("AUTOMATIC", "MANUAL", "REJECT")),
        }
        if number % 3 == 0:
            row["tags"] = ["managed", dice.choice(("eu", "uk", "ch"))]
        yield row


def _locations(now: datetime) -> Iterable[Row]:
    number = 0
    for organization in _organizations(now):
        for site in range(1 + organization["id"] % 4):
            number += 1
            dice = _dice("location", number)
            city = dice.choice(CITIES)
            yield {
                "id": number,
                "name": "Head office" if site == 0 else f"{city} branch",
                "address": f"{dice.randint(1, 120)} Station Road, {city}",
                "description": None if site else "Main site",
                "userData": {},
                "organizationId": organization["id"],
            }


def _policies(now: datetime) -> Iterable[Row]:
    for number in range(1, 31):
        edits, updated = _last_edit("policy", number, now, timedelta(days=2))
        node_class = CLASSES[number % len(CLASSES)]
        row: Row = {
            "id": number,
            "name": f"{node_class.replace('_', ' ').title()} policy {number}",
            "description": f"Revision {edits + 1}",
            "nodeClass": node_class,
            "updated": _iso(updated),
            "nodeClassDefault": number <= len(CLASSES),
        }
        if number > len(CLASSES):
            row["parentPolicyId"] = number % len(CLASSES) + 1
        yield row


def _activities(now: datetime, after: int, limit: int | None) -> list[Row]:
    # The two weeks start at a midnight, so that a listing does not lose its first rows while it is being paged.
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    first = max(0, (midnight - ACTIVITIES_KEPT - ORIGIN) // ACTIVITY_EVERY)
    end = max(0, (now - ORIGIN) // ACTIVITY_EVERY + 1)
    stop = end if limit is None else min(end, first + after + limit)
    rows = [_activity(number) for number in range(first + after, stop)]
    return [row for row in rows if row["activityTime"] <= _iso(now)]


def _activity(number: int) -> Row:
    dice = _dice("activity", number)
    code, words = dice.choice(TYPES)
    status_code, status = dice.choice(STATUSES)
    failed = dice.random() < 0.07
    row: Row = {
        "id": 100_000 + number,
        "activityTime": _iso(ORIGIN + number * ACTIVITY_EVERY + timedelta(seconds=dice.randint(0, 240))),
        "deviceId": dice.randint(1, 400) if code != "SYSTEM" else None,
        "severity": dice.choice(SEVERITIES),
        "priority": dice.choice(PRIORITIES),
        "seriesUid": str(uuid.UUID(int=dice.getrandbits(128), version=4)),
        "activityType": code,
        "statusCode": status_code,
        "status": status,
        "subject": f"{words} on device" if code != "SYSTEM" else "Console",
        "message": f"{words} {status.lower()}",
        "type": words,
        "data": {"message": {"code": status_code.lower(), "params": {"attempt": dice.randint(1, 3)}}},
    }
    if status_code == "COMPLETED":
        row["activityResult"] = "FAILURE" if failed else "SUCCESS"
    if code == "CONDITION":
        row["sourceConfigUid"] = str(uuid.UUID(int=dice.getrandbits(128), version=4))
        row["sourceName"] = dice.choice(("Disk space", "Memory", "Reboot pending", "Service stopped"))
    if code == "ACTION":
        row["userId"] = dice.randint(1, 12)
    return row


def _automation_scripts(now: datetime) -> Iterable[Row]:
    for number in range(1, 41):
        dice = _dice("script", number)
        edits, updated = _last_edit("script", number, now, timedelta(days=4))
        language = dice.choice(LANGUAGES)
        yield {
            "id": number,
            "name": f"{dice.choice(('Clean', 'Restart', 'Collect', 'Install', 'Audit'))} {dice.choice(TRADES).lower()}",
            "description": f"Version 1.{edits}",
            "active": number % 9 != 0,
            "language": language,
            "architecture": ["32", "64"] if number % 2 else ["64"],
            "operatingSystems": ["Windows"] if language in {"powershell", "batchfile"} else ["Mac", "Linux"],
            "scriptParameters": [{"name": "path", "required": True}] if number % 3 == 0 else [],
            "scriptVariables": [],
            "createdBy": f"tech{dice.randint(1, 9)}",
            "lastUpdatedBy": f"tech{edits % 9 + 1}",
            "createdOn": _iso(ORIGIN - timedelta(days=number)),
            "updatedOn": _iso(updated),
        }


def _groups(now: datetime) -> Iterable[Row]:
    for number in range(1, 26):
        dice = _dice("group", number)
        edits, updated = _last_edit("group", number, now, timedelta(days=3))
        evaluated = number % 6 != 0
        yield {
            "id": number,
            "name": f"{dice.choice(CLASSES).replace('_', ' ').title()} in {dice.choice(CITIES)}",
            "description": None,
            "shared": number % 2 == 0,
            "created": _iso(ORIGIN - timedelta(days=3 * number)),
            "updated": None if number % 12 == 0 else _iso(updated),
            "deviceCount": dice.randint(0, 300) + edits if evaluated else None,
            "lastEvaluated": _iso(updated) if evaluated else None,
        }


def _roles(now: datetime) -> Iterable[Row]:
    for number in range(1, 19 + _weeks(now) // 3):
        dice = _dice("role", number)
        custom = number > 18
        created = ORIGIN + timedelta(weeks=3 * (number - 18)) if custom else ORIGIN - timedelta(days=200 + number)
        row: Row = {
            "id": number,
            "name": f"{dice.choice(TRADES)} {'kiosk' if custom else 'device'} {number}",
            "description": None,
            "nodeClass": dice.choice(CLASSES),
            "custom": custom,
            "chassisType": dice.choice(("UNKNOWN", "DESKTOP", "LAPTOP")),
            "created": _iso(created),
            "icon": None,
        }
        if custom:
            row["nodeRoleParentId"] = number - 18
        yield row


def _software_products(now: datetime) -> Iterable[Row]:
    for number in range(1, 121):
        dice = _dice("product", number)
        vendor = f"{dice.choice(CITIES)} Software"
        yield {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://demo.invalid/products/{number}")),
            "vendorName": vendor,
            "productName": f"{dice.choice(TRADES)} Suite {number}",
            "installable": dice.random() < 0.8,
            "active": number > _weeks(now) // 4,
        }


LISTINGS: dict[str, Callable[[datetime], Iterable[Row]]] = {
    "/v2/organizations": _organizations,
    "/v2/policies": _policies,
    "/v2/automation/scripts": _automation_scripts,
    "/v2/groups": _groups,
    "/v2/locations": _locations,
    "/v2/roles": _roles,
    "/v2/software-products": _software_products,
}
