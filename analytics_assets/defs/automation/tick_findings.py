"""Which schedules and sensors do not do what they were switched on for."""

from collections.abc import Iterator, Set
from datetime import UTC, datetime

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickStatus

from analytics_assets.defs.automation.delivery import AlertError, link_to
from analytics_assets.defs.automation.findings import GRACE, Finding, Findings, minute
from analytics_assets.defs.automation.watched import Watched


def find_ticks(instance: dg.DagsterInstance, watched: Watched, told: Set[str], now: datetime) -> Findings:
    """Schedules and sensors that were switched off or whose latest tick failed, and schedules that do not tick."""
    found: dict[str, Finding] = {}
    page = link_to("automation")
    on: dict[str, str] = {}
    """Names of schedules that are on, by job."""
    for name, state, latest in read_states(instance, watched):
        off, ticks = f"off {name}", f"ticks {name}"
        if not _is_on(state, watched):
            # One that was never on has no state, or that of the code and no tick. One that is on by default, such as
            # the purge, is switched off by whoever does not want it.
            schedule = watched.schedules.get(name)
            is_wanted = schedule is None or schedule.default_status is not dg.DefaultScheduleStatus.RUNNING
            if is_wanted and (state.status.value == "STOPPED" or latest):
                says = f"{name} is switched off. If nobody meant to, switch it on. {page}"
                found[off] = Finding(wrong=True, says=says, told=off in told)
            continue
        found[off] = Finding(wrong=False, says=f"{name} is switched on.", told=off in told)
        if name in watched.schedules:
            on[watched.schedules[name].job_name] = name
        last = max(latest.timestamp if latest else 0.0, getattr(state.instigator_data, "start_timestamp", None) or 0.0)
        since = datetime.fromtimestamp(last, UTC)
        # Until a cron that was changed has its first tick, this is from when on it counts.
        looked = getattr(state.instigator_data, "last_iteration_timestamp", None) or 0.0
        counts = datetime.fromtimestamp(max(last, looked), UTC)
        if name in watched.schedules and last and now - GRACE > watched.due(name, counts):
            wrong = f"has not ticked since {minute(since)}. Look whether Dagster's daemon runs, and what it logs"
        elif latest is None or latest.status.value == "STARTED" or (cause := _cause(latest)) == AlertError.__name__:
            # In a tick that could not tell something, that is what is wrong, and it is told later.
            continue
        elif cause:
            wrong = f"has failed in its latest tick ({cause})"
        else:
            wrong = ""
        says = f"{name} {wrong}. {page}" if wrong else f"{name} ticks again."
        found[ticks] = Finding(bool(wrong), says, ticks in told)
    gone = _find_gone(instance, watched)
    for name, schedule in watched.schedules.items():
        off = f"off {name}"
        if off not in found and (other := on.get(schedule.job_name) or gone.get(schedule.job_name)):
            lacks = "leaves its resources out" if schedule.job_name in on else "was on, and no longer exists"
            says = f"{name} was never switched on, and {other} {lacks}. Switch it on. {page}"
            found[off] = Finding(wrong=True, says=says, told=off in told)
    return found


def find_undelivered(instance: dg.DagsterInstance, watched: Watched, again: str, now: datetime) -> Findings:
    """Sensors that could not tell something, and nobody knows it yet.

    Args:
        instance: Where Dagster keeps what is looked at.
        watched: What is watched.
        again: Name of the sensor that tries again at each tick, and tells what the others could not.
        now: The present.
    """
    found: dict[str, Finding] = {}
    since = (now - GRACE).timestamp()
    for name, state, latest in read_states(instance, watched):
        ids = state.instigator_origin_id, state.selector_id
        ticks = [latest] if name == again else instance.get_ticks(*ids, after=since, statuses=[TickStatus.FAILURE])
        failed = next((tick for tick in ticks if tick and _cause(tick) == AlertError.__name__), None)
        if failed and failed.error:
            why = (failed.error.cause or failed.error).message.partition(": ")[2].partition("\n")[0]
            at = minute(datetime.fromtimestamp(failed.timestamp, UTC))
            says = (
                f"{name} could not deliver an alert at {at}: {why} {again} delivers it as soon as somebody takes it,"
                " but that of a failed run not before two minutes after the run."
            )
            found[f"undelivered {name}"] = Finding(wrong=True, says=says, told=False)
    return found


def read_states(
    instance: dg.DagsterInstance, watched: Watched
) -> Iterator[tuple[str, InstigatorState, InstigatorTick | None]]:
    """Yields each schedule and sensor that has a state, with its latest tick."""
    newest: dict[str, tuple[InstigatorState, InstigatorTick | None]] = {}
    for state in instance.all_instigator_state():
        if _is_here(state, watched) and (state.name in watched.schedules or state.name in watched.sensors):
            ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            latest, other = ticks[0] if ticks else None, newest.get(state.name, (None, None))[1]
            # A code location that was renamed leaves states that nothing ticks any more.
            if state.name not in newest or (latest and (other is None or latest.timestamp > other.timestamp)):
                newest[state.name] = state, latest
    for name, (state, latest) in newest.items():
        yield name, state, latest


def _find_gone(instance: dg.DagsterInstance, watched: Watched) -> dict[str, str]:
    """Names of schedules that are on and that the code no longer has, by job. They are named after a resource."""
    jobs = {schedule.job_name for schedule in watched.schedules.values()}
    return {
        job: state.name
        for state in instance.all_instigator_state()
        if state.is_running and _is_here(state, watched) and state.name not in watched.schedules
        for job in jobs
        if state.name in {f"{job}_{key.path[-1]}" for key in watched.assets}
    }


def _is_here(state: InstigatorState, watched: Watched) -> bool:
    return watched.location in {None, state.repository_selector.location_name}


def _cause(tick: InstigatorTick) -> str | None:
    """The class of the error that a tick has failed with."""
    return (tick.error.cause or tick.error).cls_name if tick.error else None


def _is_on(state: InstigatorState, watched: Watched) -> bool:
    schedule = watched.schedules.get(state.name)
    if state.status.value == "DECLARED_IN_CODE" and schedule:
        return schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    return state.is_running
