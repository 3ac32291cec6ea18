"""Graph passes: functions that change a draft, a copy of the user's model; `prune.PASSES` runs."""
