"""Run every benchmark, or those that are named; see ALL."""

import sys

from tests.benchmarks import (
    at_a_glance,
    budgets,
    cold_read,
    cost,
    decision,
    durable_change,
    gate_client,
    gate_import,
    gate_peers,
    guard_culprits,
    guard_drill,
    guard_jobs,
    guard_rules,
    guard_turn,
    job_drill,
    job_ledger,
    live_screen,
    mirrors,
    model_filter,
    proxy,
    reconcile,
    several_at_once,
    slow_link,
    windows_memory,
    written_bytes,
)

ALL = {
    "at_a_glance": at_a_glance.main,
    "decision": decision.main,
    "durable_change": durable_change.main,
    "budgets": budgets.main,
    "cost": cost.main,
    "gate_client": gate_client.main,
    "gate_import": gate_import.main,
    "gate_peers": gate_peers.main,
    "cold_read": cold_read.main,
    "guard_rules": guard_rules.main,
    "guard_culprits": guard_culprits.main,
    "guard_drill": guard_drill.main,
    "guard_jobs": guard_jobs.main,
    "guard_turn": guard_turn.main,
    "healthy_hour": guard_drill.healthy_hour,
    "job_drill": job_drill.main,
    "job_ledger": job_ledger.main,
    "live_screen": live_screen.main,
    "mirrors": mirrors.main,
    "model_filter": model_filter.main,
    "proxy": proxy.main,
    "reconcile": reconcile.main,
    "reconcile_lines": reconcile.lines_alone,
    "several_at_once": several_at_once.main,
    "slow_link": slow_link.main,
    "windows_memory": windows_memory.main,
    "written_bytes": written_bytes.main,
}

for name in sys.argv[1:] or ALL:
    ALL[name]()
