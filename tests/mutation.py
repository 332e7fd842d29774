"""How many small mistakes in the law the tests would notice: its mutation score.

A mutant is the law with one thing changed: ``<`` made ``<=``, ``+`` made ``-``, a number one higher, a condition turned
round. It is killed when a test fails of it. Mutants are made by cosmic-ray (``uv sync --group mutation``); which of
them are tried is drawn evenly by a fixed seed, because all of them take hours. Works on a copy of the tree, so the
checkout is never broken.

    .venv/bin/python tests/mutation.py --sample 400 --results mutants.jsonl
    .venv/bin/python tests/mutation.py --results mutants.jsonl --again     # only those that survived
"""

import argparse
import collections
import difflib
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

ROOT: Final = Path(__file__).parent.parent
LAW: Final = Path("src/memtide/policy")
NOT_THE_LAW: Final = {"__init__.py", "laws.py"}
TESTS: Final = (
    "tests/unit/test_tide.py",
    "tests/unit/test_cooperation.py",
    "tests/unit/test_demand.py",
    "tests/unit/test_host_state.py",
    "tests/unit/test_share.py",
    "tests/unit/test_policy_*.py",
    "tests/scenario/test_tide_scenarios.py",
    "tests/scenario/test_safeguards.py",
    "tests/property/test_policy_*.py",
)
"""The quick ones first: one failure is enough."""
DEADLINE_S: Final = 240.0
"""A mutant that never ends is noticed too."""

KINDS: Final = {
    "comparison": (
        *("ReplaceComparisonOperator_Lt_LtE", "ReplaceComparisonOperator_Lt_GtE"),
        *("ReplaceComparisonOperator_LtE_Lt", "ReplaceComparisonOperator_LtE_Gt"),
        *("ReplaceComparisonOperator_Gt_GtE", "ReplaceComparisonOperator_Gt_LtE"),
        *("ReplaceComparisonOperator_GtE_Gt", "ReplaceComparisonOperator_GtE_Lt"),
        *("ReplaceComparisonOperator_Eq_NotEq", "ReplaceComparisonOperator_NotEq_Eq"),
        *("ReplaceComparisonOperator_Is_IsNot", "ReplaceComparisonOperator_IsNot_Is"),
    ),
    "sign": ("ReplaceBinaryOperator_Add_Sub", "ReplaceBinaryOperator_Sub_Add", "ReplaceUnaryOperator_Delete_USub"),
    "factor": (
        *("ReplaceBinaryOperator_Mul_Div", "ReplaceBinaryOperator_Div_Mul", "ReplaceBinaryOperator_FloorDiv_Mul"),
        "ReplaceBinaryOperator_Pow_Mul",
    ),
    "number": ("NumberReplacer",),
    "condition": (
        *("AddNot", "ReplaceUnaryOperator_Delete_Not", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
        *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    ),
    "loop": ("ZeroIterationForLoop", "ReplaceContinueWithBreak", "ReplaceBreakWithContinue"),
}
"""What is changed, by cosmic-ray's names for it."""

Mutant = dict[str, Any]


def mutants(tree: Path) -> Iterator[Mutant]:
    """Yield every mutant of the law in this tree, without its result."""
    for path in sorted((tree / LAW).glob("*.py")):
        if path.name in NOT_THE_LAW:
            continue
        nodes = list(ast_nodes(get_ast(path.read_text())))
        for kind, names in KINDS.items():
            for name in names:
                operator = get_operator(f"core/{name}")()
                places = [start for node in nodes for start, _ in operator.mutation_positions(node)]
                for occurrence, (line, _) in enumerate(places):
                    yield {"file": path.name, "line": line, "kind": kind, "operator": name, "occurrence": occurrence}


def passes(copy: Path) -> bool:
    """Say whether the tests pass in this tree."""
    tests = [str(path.relative_to(copy)) for pattern in TESTS for path in sorted(copy.glob(pattern))]
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = {"PYTHONPATH": "src", "PATH": "/usr/bin:/bin", "HYPOTHESIS_STORAGE_DIRECTORY": str(copy / "h")}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=DEADLINE_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def judge(mutant: Mutant, copy: Path) -> Mutant:
    """Return a mutant with what came of it, and what it changes."""
    place = copy / LAW / mutant["file"]
    whole = place.read_text()
    changed = mutate_code(whole, get_operator(f"core/{mutant['operator']}")(), mutant["occurrence"])
    place.write_text(changed)
    survived = passes(copy)
    place.write_text(whole)
    lines = difflib.unified_diff(whole.splitlines(), changed.splitlines(), n=0, lineterm="")
    return mutant | {"survived": survived, "change": [line for line in lines if line[:3] not in {"---", "+++"}][1:]}


def report(results: list[Mutant], whole: int) -> str:
    """Return who survived, and the score by kind."""
    counts = collections.Counter((result["kind"], result["survived"]) for result in results)
    lines = [
        f"{result['file']}:{result['line']} {result['kind']}: " + "  ".join(result["change"])
        for result in results
        if result["survived"]
    ]
    lines += [f"{kind:12} {counts[kind, False]:4} killed {counts[kind, True]:4} survived" for kind in KINDS]
    killed = sum(not result["survived"] for result in results)
    lines.append(f"{killed} of {len(results)} mutants killed: {killed / max(1, len(results)):.1%}; there are {whole}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=400, help="how many mutants to try")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, required=True, help="a file of one JSON object a line; gone on with")
    parser.add_argument("--again", action="store_true", help="try only those that survived, with the tests of now")
    asked = parser.parse_args()
    before = [json.loads(line) for line in asked.results.read_text().splitlines()] if asked.results.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("src", "tests", "docs"):
            shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        if not passes(copy):
            sys.exit("the tests fail without any mutant: nothing can be learned")
        whole = list(mutants(copy))
        if asked.again:
            done, to_do = [r for r in before if not r["survived"]], [r for r in before if r["survived"]]
        else:
            chosen = random.Random(asked.seed).sample(whole, min(asked.sample, len(whole)))  # noqa: S311 - no secret
            known = {(r["file"], r["operator"], r["occurrence"]) for r in before}
            done, to_do = before, [m for m in chosen if (m["file"], m["operator"], m["occurrence"]) not in known]
        for number, mutant in enumerate(to_do):
            done.append(judge(mutant, copy))
            # those not tried again yet stay as they are, so that the file is whole at any moment
            waiting = to_do[number + 1 :] if asked.again else []
            asked.results.write_text("".join(json.dumps(result) + "\n" for result in [*done, *waiting]))
    sys.stdout.write(report(done, len(whole)))


if __name__ == "__main__":
    main()
