"""Policies: what follows from the scores of an item, by rules that people wrote.

policy = load_policy(policy_path, taxonomy_path, heads)      # or check(...), which never raises
verdict = evaluate(policy, surface, context, parts)          # pure
rows = evaluate_rows(policy, label, values, markets=…)       # the same ladders, over millions of stored rows
"""

from floodgate.policy.compiled import CompiledPolicy
from floodgate.policy.diagnostic import Diagnostic, InvalidPolicy, Severity, Span
from floodgate.policy.evaluate import check_context, evaluate
from floodgate.policy.load import PolicyCheck, check, load_policy, summarize
from floodgate.policy.rows import RowResult, calibrate_rows, evaluate_rows

__all__ = [
    "CompiledPolicy",
    "Diagnostic",
    "InvalidPolicy",
    "PolicyCheck",
    "RowResult",
    "Severity",
    "Span",
    "calibrate_rows",
    "check",
    "check_context",
    "evaluate",
    "evaluate_rows",
    "load_policy",
    "summarize",
]
