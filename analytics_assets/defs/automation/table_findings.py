"""What is wrong with the tables, by their checks and freshness policies, and which fields are new."""

from collections.abc import Iterable, Set

import dagster as dg

from analytics_assets.defs.assets.specs import UNDECLARED
from analytics_assets.defs.automation.delivery import link_to
from analytics_assets.defs.automation.findings import Finding, Findings, minute
from analytics_assets.defs.automation.watched import Watched

SHOWN_FIELDS = 20
"""Most new fields that a text names."""

LONGEST_FIELD = 100
"""Most characters of a field's name that a text shows."""


def find_checks(instance: dg.DagsterInstance, watched: Watched, told: Set[str]) -> Findings:
    """Checks of severity ERROR, by their latest evaluation, and fields that the API has begun to send."""
    found: dict[str, Finding] = {}
    for check in watched.checks:
        record = instance.get_latest_asset_check_evaluation_record(check)
        evaluation = record.evaluation if record else None
        if not isinstance(evaluation, dg.AssetCheckEvaluation):
            # It was never evaluated, or a run has planned to.
            continue
        asset = check.asset_key.to_user_string()
        key, page = f"check {asset} {check.name}", link_to("assets", *check.asset_key.path) + "?view=checks"
        wrong = not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR
        reason = evaluation.description or "The check gives no reason."
        says = f"fails: {reason} {page}" if wrong else "passes again."
        found[key] = Finding(wrong, f"The check {check.name} of {asset} {says}", key in told)
        if check.name == UNDECLARED:
            found |= _find_fields(evaluation, asset, told)
    return found


def _find_fields(evaluation: dg.AssetCheckEvaluation, asset: str, told: Set[str]) -> Findings:
    """New fields of one asset. They are never over: each is told once."""
    listed = [evaluation.metadata.get(name) for name in ("columns", "fields_without_a_column")]
    fields = [str(field) for value in listed if value for field in _names(value.value)]
    new = [field for field in fields if f"field {asset} {field}" not in told]
    more = f", and {len(new) - SHOWN_FIELDS} more" if len(new) > SHOWN_FIELDS else ""
    says = (
        f"The API sends new fields in {asset}: {', '.join(map(_name, new[:SHOWN_FIELDS]))}{more}. They are loaded as"
        " JSON; to give them a type, declare them in the catalog."
    )
    return {f"field {asset} {field}": Finding(wrong=True, says=says, told=field not in new) for field in fields}


def _name(field: str) -> str:
    """The name of a field in a text, in which it may be anything."""
    shown = "".join(each if each.isprintable() else " " for each in field[:LONGEST_FIELD])
    return shown if len(field) <= LONGEST_FIELD else f"{shown}..."


def _names(value: object) -> Iterable[object]:
    return value if isinstance(value, dict | list) else ()


def find_freshness(instance: dg.DagsterInstance, watched: Watched, told: Set[str]) -> Findings:
    """Assets with a freshness policy, by what Dagster's daemon has found."""
    found: dict[str, Finding] = {}
    for asset, record in instance.get_freshness_state_records(list(watched.assets)).items():
        key, name, state = f"freshness {asset.to_user_string()}", asset.to_user_string(), record.freshness_state.value
        if state == "FAIL":
            says = (
                f"{name} is too old: its freshness policy fails since {minute(record.updated_at)}. Look why no run"
                f" materializes it. {link_to('assets', *asset.path)}"
            )
            found[key] = Finding(wrong=True, says=says, told=key in told)
        elif state in {"PASS", "WARN"}:
            found[key] = Finding(wrong=False, says=f"{name} is fresh again.", told=key in told)
    return found
