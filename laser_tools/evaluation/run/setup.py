"""What a run asks: methods as arms, a set's questions, with the line that its papers put below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import cast, get_args

from laser_tools.errors import InvalidRequest
from laser_tools.evaluation.arms import Arm
from laser_tools.evaluation.benchmarks.base import Benchmark, Item
from laser_tools.evaluation.benchmarks.file_set import InFolder
from laser_tools.evaluation.best_layer import BEST_LAYER
from laser_tools.options import LaserOptions
from laser_tools.schema import MethodName

ORACLE = "oracle"
METHODS = (*get_args(MethodName), BEST_LAYER, ORACLE)


def check_methods(methods: Sequence[str], remote: bool) -> None:
    """Raises InvalidRequest for a method that is not known or given twice.

    And for those that a worker cannot be asked for, as its options cannot be changed.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise InvalidRequest(f"The methods are {', '.join(METHODS)}; not {', '.join(unknown)!r}.")
    if len(set(methods)) < len(methods):
        raise InvalidRequest("A method is named twice in --methods.")
    here = [name for name in (ORACLE, BEST_LAYER) if name in methods]
    if remote and here:
        raise InvalidRequest(f"{here[0]} needs a model in this process; leave it out.")


def arms_of(
    methods: Sequence[str], options: LaserOptions, remote: bool, layer: int | None = None
) -> list[Arm]:
    """An arm for each method, in order; `layer` is that of best-layer.

    Raises InvalidRequest as `check_methods` does, and for best-layer without a layer.
    """
    check_methods(methods, remote)
    if BEST_LAYER in methods and layer is None:
        raise InvalidRequest(f"{BEST_LAYER} needs a layer here: name it (--layer).")
    fixed = options.model_copy(update={"layer": layer})
    return [_arm(name, options, fixed) for name in methods]


def _arm(name: str, options: LaserOptions, fixed: LaserOptions) -> Arm:
    if name == ORACLE:
        return Arm(name, options, "oracle")
    return Arm(name, fixed) if name == BEST_LAYER else Arm(name, options, cast("MethodName", name))


@dataclass(frozen=True)
class Questions:
    """The questions of a run, made anew each time: drawn pictures do not all fit into memory."""

    mine: Benchmark
    split: str
    n: int
    seed: int

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[Item]:
        return self.mine.items(self.split, self.n, self.seed)


def questions(mine: Benchmark, split: str | None, n: int | None, seed: int) -> Questions:
    """Those of a split, of the set's first where none is named: `n`, or as many as there are.

    Raises InvalidRequest as the set does, and for a set that never ends without `n`.
    """
    chosen = split or mine.splits[0]
    if isinstance(mine, InFolder):
        return Questions(mine, chosen, sum(1 for _ in mine.items(chosen, n, seed)), seed)
    if n is None:
        raise InvalidRequest(f"{mine.name} never ends: say how many questions (--n).")
    mine.items(chosen, 1, seed)  # refuses a split that is not there
    return Questions(mine, chosen, n, seed)


def instructed(options: LaserOptions, mine: Benchmark) -> LaserOptions:
    """The options with the set's own line after the question, unless they have one."""
    if options.answer_instruction or not mine.instruction:
        return options
    return options.model_copy(update={"answer_instruction": mine.instruction})


def with_line(item: Item, instruction: str) -> Item:
    """The item for a worker: the line stands in the question itself."""
    if not instruction:
        return item
    return replace(item, question=f"{item.question}\n{instruction}")
