"""The demo API's rows of the eight resources. They are a pure function of the time, so they change reproducibly.

An activity happens every five minutes and is kept for two weeks. Policies, scripts and groups are edited. Now and then
an organization, a location or a role is added, and a software product is withdrawn.

All dialects serve these rows, and each spells them in its own way. Here, a point in time is an aware UTC date-time,
exact to the microsecond, and `None` is a null.
"""

import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import overload

from analytics_assets.demo.exchange import Row

ORIGIN = datetime(2026, 1, 5, tzinfo=UTC)
"""The point in time at which the demo's world begins. Weeks, edits and activities are counted from here."""

ACTIVITY_EVERY = timedelta(minutes=5)
ACTIVITIES_KEPT = timedelta(days=14)

ACTIVITY_LATE = timedelta(minutes=8)
"""Longest time between an activity and its entry in the log. It is longer than `ACTIVITY_EVERY`, so that ids are not
strictly in the order of time, as in the real API."""

ACTIVITIES = "/v2/activities"

CITIES = ("Aarhus", "Bergen", "Cork", "Dresden", "Evora", "Ferrara", "Ghent", "Haarlem", "Innsbruck", "Jena", "Krakow")
TRADES = ("Logistics", "Dental", "Foods", "Legal", "Robotics", "Textiles", "Energy", "Media", "Travel", "Optics")
CLASSES = ("WINDOWS_SERVER", "WINDOWS_WORKSTATION", "MAC", "LINUX_SERVER", "LINUX_WORKSTATION", "CLOUD_MONITOR_TARGET")
LANGUAGES = ("powershell", "sh", "python", "batchfile", "javascript")
STATUSES = (("START_REQUESTED", "Start requested"), ("STARTED", "Started"), ("COMPLETED", "Completed"))
TYPES = (("ACTION", "Action"), ("CONDITION", "Condition"), ("SCHEDULED_TASK", "Scheduled task"), ("SYSTEM", "System"))
SEVERITIES = ("NONE", "NONE", "NONE", "MINOR", "MODERATE", "MAJOR", "CRITICAL")
PRIORITIES = ("NONE", "LOW", "MEDIUM", "HIGH")


def read_listing(path: str, now: datetime) -> Sequence[Row] | None:
    """The rows of the listing at `path` as of `now`, or `None` for an unknown path.

    Rows ascend by id, except software products, whose ids are UUIDs. Activities are made only when they are accessed.
    """
    return LISTINGS[path](now) if path in LISTINGS else None


def _dice(kind: str, number: int) -> random.Random:
    return random.Random(f"{kind}:{number}")  # noqa: S311 - made-up data, not cryptography


def _weeks(now: datetime) -> int:
    return max(0, (now - ORIGIN) // timedelta(weeks=1))


def _last_edit(kind: str, number: int, now: datetime, every: timedelta) -> tuple[int, datetime]:
    """How often a row has been edited until `now`, and when last. Each row has its own rhythm of about `every`."""
    dice = _dice(f"{kind} edit", number)
    rhythm = every * dice.uniform(0.6, 1.6)
    phase = rhythm * dice.random()
    edits = max(0, (now - ORIGIN - phase) // rhythm)
    return edits, ORIGIN + phase + edits * rhythm


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
            "updated": updated,
            "nodeClassDefault": number <= len(CLASSES),
        }
        if number > len(CLASSES):
            row["parentPolicyId"] = number % len(CLASSES) + 1
        yield row


class _ActivityLog(Sequence[Row]):
    """The activities that are kept as of `now`. There are thousands, so only those of the requested page are made."""

    def __init__(self, now: datetime) -> None:
        # The two weeks start at a midnight, so that a listing does not lose its first rows while it is being paged.
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        first = max(0, (midnight - ACTIVITIES_KEPT - ORIGIN) // ACTIVITY_EVERY)
        self._numbers = range(first, max(first, (now - ORIGIN) // ACTIVITY_EVERY + 1))

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [_activity(number) for number in self._numbers[index]]
        return _activity(self._numbers[index])


def _activity(number: int) -> Row:
    dice = _dice("activity", number)
    code, words = dice.choice(TYPES)
    status_code, status = dice.choice(STATUSES)
    failed = dice.random() < 0.07
    # One in ten is reported late: after others that happened later, and that have a smaller id.
    late = ACTIVITY_LATE * (dice.uniform(0.65, 1) if dice.random() < 0.1 else dice.uniform(0, 0.5))
    row: Row = {
        "id": 100_000 + number,
        "activityTime": ORIGIN + number * ACTIVITY_EVERY - late,
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
            "scriptParameters": ["-Path", "-Verbose"] if number % 3 == 0 else [],
            "scriptVariables": [{"id": "1", "name": "path", "type": "TEXT", "required": True}] * (number % 4 == 0),
            "createdBy": f"tech{dice.randint(1, 9)}",
            "lastUpdatedBy": f"tech{edits % 9 + 1}",
            "createdOn": ORIGIN - timedelta(days=number),
            "updatedOn": updated,
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
            "created": ORIGIN - timedelta(days=3 * number),
            "updated": None if number % 12 == 0 else updated,
            "deviceCount": dice.randint(0, 300) + edits if evaluated else None,
            "lastEvaluated": updated if evaluated else None,
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
            "created": created,
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


def _whole(rows: Callable[[datetime], Iterable[Row]]) -> Callable[[datetime], Sequence[Row]]:
    return lambda now: tuple(rows(now))


LISTINGS: dict[str, Callable[[datetime], Sequence[Row]]] = {
    ACTIVITIES: _ActivityLog,
    "/v2/automation/scripts": _whole(_automation_scripts),
    "/v2/groups": _whole(_groups),
    "/v2/locations": _whole(_locations),
    "/v2/organizations": _whole(_organizations),
    "/v2/policies": _whole(_policies),
    "/v2/roles": _whole(_roles),
    "/v2/software-products": _whole(_software_products),
}
"""The rows of each endpoint as a function of the time, by path."""
