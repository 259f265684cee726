"""When assets are synced, and what happens when they are not: schedules, freshness, alerts, dead runs."""
