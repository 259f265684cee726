"""When assets are synced, and who is told when they are not: schedules, freshness, alerts, dead runs."""
