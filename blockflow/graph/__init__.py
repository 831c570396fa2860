"""The operator graph: lazy, for any region of any slot; changes run downstream, requests upstream."""

from blockflow.graph.graph import Graph
from blockflow.graph.metadict import MetaDict
from blockflow.graph.operator import Operator
from blockflow.graph.slot import InputSlot, OutputSlot, Slot, SlotNotReadyError
from blockflow.graph.staged import StagedOperator, StageGrid
from blockflow.graph.wrapper import OperatorWrapper

__all__ = [
    "Graph",
    "InputSlot",
    "MetaDict",
    "Operator",
    "OperatorWrapper",
    "OutputSlot",
    "Slot",
    "SlotNotReadyError",
    "StageGrid",
    "StagedOperator",
]
