"""Graph passes: each takes a model and a decision, and gives a new model; none edits in place.

The order in which `compress` runs them is the order of `PASSES`.
"""

#: prepare -> prune -> tidy; recovery comes between the last two.
PASSES = ("prune", "tidy")
