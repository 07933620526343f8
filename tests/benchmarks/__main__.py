"""Run every benchmark, or those named: decision, durable_change, cold_read, live_screen."""

import sys

from tests.benchmarks import cold_read, decision, durable_change, live_screen

ALL = {
    "decision": decision.main,
    "durable_change": durable_change.main,
    "cold_read": cold_read.main,
    "live_screen": live_screen.main,
}

for name in sys.argv[1:] or ALL:
    ALL[name]()
