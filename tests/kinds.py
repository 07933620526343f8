"""The kinds of tests: unit, functional, e2e; ``make test-fast`` runs units that are not slow."""

import functools
import os
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

Kind = Literal["unit", "functional", "e2e"]

_ROOT = Path(__file__).resolve().parent

E2E = frozenset(
    (
        "cli/test_completion.py",
        "cli/test_init_questions.py",
        "cli/test_keys.py",
        "cli/test_line_input.py",
        "cli/test_web.py",
        "credentials/vault/test_keyring.py",
        "credentials/vault/test_vault.py",
        "export/test_flagd.py",
        "export/test_follower.py",
        "fleet/test_quitting.py",
        "gate/http/test_gate_clients.py",
        "gate/http/test_jobs_in_sdks.py",
        "gate/http/test_sdks.py",
        "gate/http/test_soak.py",
        "gate/metrics/test_docs.py",
        "gate/serve/test_sdks.py",
        "gate/test_docs.py",
        "gate/test_openfeature.py",
        "readiness/test_phases.py",
        "sim/test_answers_in_sdks.py",
        "sim/test_demo.py",
        "sim/test_guard_drill.py",
        "sim/test_report_drill.py",
        "ui/test_continued.py",
        "ui/test_drill.py",
        "ui/test_halted_terminal.py",
        "ui/test_pictures.py",
        "ui/test_reopening.py",
        "ui/test_slow_link.py",
        "ui/test_written_bytes.py",
    )
)
"""A real terminal, real shells, the SDKs, the whole demo."""

FUNCTIONAL = frozenset(
    (
        "changes/test_crashes.py",
        "changes/test_full_disk.py",
        "changes/test_kept.py",
        "changes/test_swap.py",
        "cli/test_closed_folders.py",
        "cli/test_commands.py",
        "cli/test_encodings.py",
        "cli/test_guard.py",
        "cli/test_init.py",
        "cli/test_jobs.py",
        "cli/test_models.py",
        "cli/test_plain.py",
        "cli/test_mutated_answers.py",
        "cli/test_probe.py",
        "cli/test_budgets.py",
        "cli/test_cost.py",
        "cli/test_reconcile.py",
        "cli/test_symlink_loops.py",
        "cli/test_report.py",
        "cli/test_set_of_several.py",
        "cli/test_usage.py",
        "common/test_connection_errors.py",
        "common/test_standard_streams.py",
        "cost/test_costs.py",
        "cost/test_damaged_stores.py",
        "cost/test_drill.py",
        "cost/test_side_by_side.py",
        "cost/test_spending_count.py",
        "cost/test_worker.py",
        "credentials/test_keys.py",
        "credentials/test_rotation.py",
        "credentials/test_rotation_crashes.py",
        "credentials/test_rotation_places.py",
        "credentials/test_several_operators.py",
        "credentials/vault/test_at_once.py",
        "gate/decision/test_vectors.py",
        "gate/http/test_answers.py",
        "gate/http/test_bytes_of_others.py",
        "gate/http/test_client_network.py",
        "gate/http/test_creates.py",
        "gate/http/test_credentials.py",
        "gate/http/test_forks.py",
        "gate/http/test_gate_jobs.py",
        "gate/http/test_id_store.py",
        "gate/http/test_ids.py",
        "gate/http/test_ledger.py",
        "gate/http/test_ledger_buffer.py",
        "gate/http/test_left_unread.py",
        "gate/http/test_ledger_file.py",
        "gate/http/test_one_line_each.py",
        "gate/http/test_operation_sides.py",
        "gate/http/test_passing_by.py",
        "gate/http/test_redirects.py",
        "gate/http/test_resumed.py",
        "gate/http/test_round_the_gate.py",
        "gate/http/test_whose_key.py",
        "etcd/test_answers.py",
        "etcd/test_client.py",
        "fleet/test_access.py",
        "fleet/test_clocks.py",
        "fleet/test_commands_on_etcd.py",
        "fleet/test_docs.py",
        "fleet/test_full_disk.py",
        "fleet/test_faults.py",
        "fleet/test_guard_while_away.py",
        "fleet/test_restored.py",
        "fleet/test_signals.py",
        "fleet/test_shared_file.py",
        "gate/metrics/test_dashboard.py",
        "gate/metrics/test_otel.py",
        "gate/metrics/test_processes.py",
        "gate/metrics/test_prometheus.py",
        "gate/serve/test_http_1_0.py",
        "gate/serve/test_metrics.py",
        "gate/serve/test_answers.py",
        "gate/serve/test_connections.py",
        "gate/serve/test_requests.py",
        "gate/serve/test_serving.py",
        "gate/serve/test_streams.py",
        "gate/serve/test_uploads.py",
        "mirror/test_mirror.py",
        "mirror/test_record.py",
        "mirror/test_mirror_command.py",
        "gate/test_access_log.py",
        "gate/test_gate.py",
        "gate/test_library.py",
        "gate/test_permissions.py",
        "jobs/test_poller.py",
        "jobs/test_reading_as_others.py",
        "guard/test_budget_counter.py",
        "guard/test_guard_sources.py",
        "guard/test_notify.py",
        "guard/test_gate_metrics.py",
        "guard/test_prometheus.py",
        "guard/test_prometheus_samples.py",
        "guard/test_watch.py",
        "health/prometheus/test_client.py",
        "health/prometheus/test_feed.py",
        "health/test_multi_file.py",
        "health/test_older.py",
        "health/test_rotation.py",
        "history/test_history.py",
        "readiness/test_check.py",
        "readiness/test_shadow.py",
        "reconcile/test_played_traffic.py",
        "reconcile/test_closed_folder.py",
        "reconcile/test_crashes.py",
        "reconcile/test_drill.py",
        "reconcile/test_invariants.py",
        "reconcile/test_piles.py",
        "reconcile/test_pull.py",
        "scaffold/test_model_names.py",
        "sim/test_answer_faults.py",
        "sim/test_contract.py",
        "sim/test_fault_scope.py",
        "sim/test_healthy_answers.py",
        "sim/test_incidents.py",
        "sim/test_job_drill.py",
        "sim/test_job_traffic.py",
        "sim/test_media_faults.py",
        "sim/test_previous_media.py",
        "sim/test_requests.py",
        "sim/test_settlement.py",
        "sim/test_simulator.py",
        "sim/test_traffic.py",
        "test_commands.py",
        "test_import_hygiene.py",
        "tokenlab/test_catalogue.py",
        "tokenlab/test_client.py",
        "tokenlab/test_media_probe.py",
        "tokenlab/test_mutations.py",
        "tokenlab/test_probe.py",
        "tokenlab/test_reach.py",
        "ui/test_added_cost.py",
        "ui/test_ascii.py",
        "ui/test_breath.py",
        "ui/test_key_order.py",
        "ui/test_budget_hold.py",
        "ui/test_confirm.py",
        "ui/test_crash.py",
        "ui/test_dim.py",
        "ui/test_dismissed_once.py",
        "ui/test_empty_states.py",
        "ui/test_held_meanwhile.py",
        "ui/test_history_screen.py",
        "ui/test_foreign_terminal.py",
        "ui/test_forms.py",
        "ui/test_frames.py",
        "ui/test_home.py",
        "ui/test_home_trouble.py",
        "ui/test_fleet_screen.py",
        "ui/test_under_way.py",
        "ui/test_jobs_actions.py",
        "ui/test_jobs_screen.py",
        "ui/test_jump_list.py",
        "ui/test_keys_screen.py",
        "ui/test_keys_secrets.py",
        "ui/test_leaving.py",
        "ui/test_live.py",
        "ui/test_live_screen.py",
        "ui/test_marked_shares.py",
        "ui/test_marks.py",
        "ui/test_models_screen.py",
        "ui/test_mutated_answers.py",
        "ui/test_money_screen.py",
        "ui/test_names.py",
        "ui/test_no_colour.py",
        "ui/test_prometheus.py",
        "ui/test_rollback.py",
        "ui/test_routes_screen.py",
        "ui/test_snapshots.py",
        "ui/test_spare_lines.py",
        "ui/test_tab_driver.py",
        "ui/test_theme_change.py",
        "web/test_sockets.py",
    )
)
"""HTTP over loopback, Textual's Pilot, other processes."""


@functools.cache
def kind_of(path: Path) -> Kind:
    """Return the kind of the tests of a module; one that is named nowhere is of units."""
    name = path.relative_to(_ROOT).as_posix()
    return "e2e" if name in E2E else "functional" if name in FUNCTIONAL else "unit"


class Effects:
    """Notes what a test does outside of its process, by wrapping the calls that do it.

    An audit hook (PEP 578) would see all of it, and costs every test a twentieth of its time:
    ``id()`` is an audited event.
    """

    _CALLS: Sequence[tuple[Any, str]] = (
        (subprocess.Popen, "__init__"),
        (os, "fork"),
        (os, "posix_spawn"),
        (socket.socket, "connect"),
        (socket.socket, "connect_ex"),
        (socket.socket, "bind"),
    )

    def __init__(self) -> None:
        self._seen: dict[str, None] = {}
        self._made = [self._noting(place, name) for place, name in self._CALLS]

    def begin(self) -> dict[str, None]:
        """Begin to note; return what is filled with the names of the calls."""
        self._seen = {}
        for (place, name), (noting, _) in zip(self._CALLS, self._made, strict=True):
            setattr(place, name, noting)
        return self._seen

    def end(self) -> None:
        """Note nothing more."""
        for (place, name), (_, own) in zip(self._CALLS, self._made, strict=True):
            if own is None:
                delattr(place, name)
            else:
                setattr(place, name, own)

    def _noting(self, place: Any, name: str) -> tuple[Callable[..., Any], Any]:
        """Return what notes and calls, and the place's own call, None where it inherits it."""
        called = getattr(place, name)

        @functools.wraps(called)
        def noting(*arguments: Any, **more: Any) -> Any:
            self._seen[f"{place.__name__}.{name}"] = None
            return called(*arguments, **more)

        return noting, vars(place).get(name)
