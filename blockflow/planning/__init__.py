"""From a graph to tasks: required regions, block shapes, memory, and the plan as data."""

from blockflow.planning.assembly import Planned, assemble
from blockflow.planning.plan import Plan, PlannedRoi, PlannedTask, plan_before
from blockflow.planning.planner import Draft, describe_output, draft
from blockflow.planning.target import Target

__all__ = [
    "Draft",
    "Plan",
    "Planned",
    "PlannedRoi",
    "PlannedTask",
    "Target",
    "assemble",
    "describe_output",
    "draft",
    "plan_before",
]
