"""When assets are synced, and what happens if they are not: schedules, freshness policies, alerts, dead runs."""
