"""What can go wrong, by number, and the tests that try it: the table of `docs/guide/faults.md`.

Invariant: `tests/unit/test_scenarios.py` holds every test that is named here to exist, and a test to take out
the defence of each number: what happens then is told by that test alone (`damage` in `tests/faults`).
"""

from __future__ import annotations

from dataclasses import dataclass

FAULTS = "tests/faults/test_fault_"
BARE = f"{FAULTS}undefended.py::test_without_"
TARGET = f"{FAULTS}target.py::test_without_"
UPGRADE = f"{FAULTS}upgrade.py::test_without_"
TELLING = f"{FAULTS}telling.py::test_without_"


@dataclass(frozen=True)
class Scenario:
    """One danger.

    Attributes:
        tests: those that try it.
    """

    number: int
    danger: str
    tests: tuple[str, ...]

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """The tests that lie outside the rooms of faults and fuzzing."""
        return tuple(each for each in self.tests if not each.startswith(("tests/faults/", "tests/fuzz/")))


SCENARIOS = (
    Scenario(
        1,
        "the direction is reversed: Production would be overwritten",
        (
            "tests/integration/test_fences.py::test_each_fence_alone_stops_a_refresh_that_runs_the_wrong_way",
            f"{FAULTS}undefended.py::test_each_fence_alone_keeps_production",
            "tests/integration/test_fences.py::test_the_roles_of_a_refresh_cannot_harm_production",
        ),
    ),
    Scenario(
        2,
        "a worker is killed at any place of any flow or put-back",
        (
            f"{FAULTS}kills.py::test_a_killed_worker_leaves_the_old_or_the_new_state",
            f"{FAULTS}kills.py::test_wherever_a_worker_is_killed_the_next_one_ends_it",
            f"{FAULTS}kills.py::test_a_run_meets_every_place_of_the_matrix",
        ),
    ),
    Scenario(
        3,
        "two workers on one site",
        (
            f"{FAULTS}frozen.py::test_of_many_workers_that_claim_at_once_one_gets_it",
            f"{FAULTS}frozen.py::test_two_workers_on_one_abandoned_run_are_never_both_let_in",
        ),
    ),
    Scenario(
        4,
        "a worker is frozen past its lease and wakes up",
        (
            f"{FAULTS}frozen.py::test_a_frozen_worker_that_wakes_touches_nothing",
            f"{FAULTS}frozen.py::test_a_worker_that_wakes_while_the_next_one_copies_writes_nothing_into_the_copy",
            f"{FAULTS}frozen.py::test_a_worker_that_wakes_in_its_claim_ends_no_session_of_the_next_one",
            f"{FAULTS}frozen.py::test_a_frozen_worker_does_not_swap_back_what_was_put_back",
        ),
    ),
    Scenario(
        5,
        "a connection drops in the middle of the copy",
        (
            f"{FAULTS}cut_off.py::test_production_that_is_lost_in_the_middle_of_the_copy_is_read_again",
            f"{FAULTS}cut_off.py::test_a_target_that_is_lost_for_a_moment_is_found_again",
            "tests/integration/test_copy_failures.py::test_a_lost_session_is_unavailable",
        ),
    ),
    Scenario(
        6,
        "a disk is full",
        (
            f"{FAULTS}disk.py::test_a_full_disk_puts_the_refresh_back",
            f"{FAULTS}disk.py::test_without_a_look_at_the_room_a_refresh_fails_in_its_middle",
        ),
    ),
    Scenario(
        7,
        "a message comes again, to several consumers",
        (
            f"{FAULTS}delivery.py::test_one_message_fifty_times_to_five_consumers_is_one_request",
            f"{FAULTS}delivery.py::test_a_consumer_that_dies_before_it_deletes_leaves_no_second_request",
        ),
    ),
    Scenario(
        8,
        "a message that nobody can read",
        (
            "tests/properties/test_message_fuzz.py::test_any_text",
            "tests/properties/test_message_fuzz.py::test_any_json",
            "tests/properties/test_message_fuzz.py::test_100_000_bodies_crash_nothing_and_leave_memory_flat",
        ),
    ),
    Scenario(
        9,
        "a queue without bounds",
        (
            f"{FAULTS}queue.py::test_every_request_arrives_once_whoever_dies",
            f"{FAULTS}unguarded.py::test_without_the_index_a_site_waits_for_the_same_a_hundred_times",
        ),
    ),
    Scenario(
        10,
        "clocks change, jump, or do not exist",
        (
            "tests/properties/test_local_time.py::test_every_change_of_the_clocks_in_every_zone",
            "tests/properties/test_windows.py::test_a_window_that_opens_in_a_gap_opens_right_after_it",
            "tests/properties/test_windows.py::test_a_window_keeps_its_local_ends_when_the_clocks_change",
            f"{FAULTS}clocks.py::test_without_asking_the_zone_a_window_opens_and_ends_an_hour_late",
        ),
    ),
    Scenario(
        11,
        "the target has sessions when it is swapped",
        (
            "tests/integration/test_swap.py::test_a_session_that_may_not_be_ended_leaves_everything_as_it_was",
            "tests/integration/test_swap.py::test_twenty_swaps_under_sixteen_busy_clients",
            "tests/integration/test_swap.py::test_a_prepared_transaction_refuses_the_swap",
            f"{FAULTS}target.py::test_a_session_that_nobody_may_end_puts_the_refresh_back",
            f"{TARGET}ending_sessions_one_idle_client_prevents_the_swap",
        ),
    ),
    Scenario(
        12,
        "Production cannot be reached",
        (
            f"{FAULTS}cut_off.py::test_production_that_stays_away_leaves_the_target_as_it_was",
            f"{TARGET}building_aside_a_lost_production_leaves_an_empty_target",
        ),
    ),
    Scenario(
        13,
        "a snapshot is gone when it is needed",
        (f"{FAULTS}stuck.py::test_a_snapshot_that_is_gone_ends_stuck_and_leaves_every_copy",),
    ),
    Scenario(
        14,
        "the put-back itself fails",
        (
            f"{FAULTS}stuck.py::test_an_undo_that_fails_ends_stuck_after_every_other_undo",
            f"{FAULTS}stuck.py::test_two_undos_that_fail_are_both_told",
            f"{FAULTS}stuck.py::test_snapshots_are_kept_when_the_databases_could_not_be_restored",
            f"{FAULTS}stuck.py::test_a_stuck_site_is_locked_until_a_person_clears_it",
        ),
    ),
    Scenario(
        15,
        "a health check that flaps",
        (
            "tests/integration/test_checks.py::test_good_once_is_not_good",
            "tests/integration/test_checks.py::test_a_site_that_never_answers_well_is_given_up_at_the_deadline",
            "tests/integration/test_checks.py::test_what_an_interrupted_check_left_is_removed_first",
            f"{FAULTS}health.py::test_without_several_in_a_row_a_site_that_flaps_is_healthy",
            f"{FAULTS}health.py::test_without_asking_the_version_the_old_one_is_taken_for_the_new",
        ),
    ),
    Scenario(
        16,
        "mail and status servers are down, hang or lie",
        (
            f"{FAULTS}delivery.py::test_a_mail_server_that_hangs_costs_one_wait_and_holds_up_no_status",
            f"{FAULTS}delivery.py::test_what_rests_is_sent_when_the_server_is_back",
            f"{FAULTS}delivery.py::test_no_server_that_tells_changes_what_a_run_does",
            "tests/integration/test_mail_delivery.py::test_a_server_that_is_unwell_is_given_up_in_time",
            f"{TELLING}the_outbox_nothing_begins_while_the_mail_server_is_away",
            f"{TELLING}a_deadline_a_server_that_drips_holds_up_every_mail",
        ),
    ),
    Scenario(
        17,
        "secrets in logs, errors, reports or process lists",
        (
            f"{FAULTS}secrets.py::test_runs_that_fail_write_no_secret",
            f"{FAULTS}secrets.py::test_a_wrong_password_is_told_without_the_password",
            f"{FAULTS}secrets.py::test_no_process_carries_a_secret_on_its_command_line",
            f"{FAULTS}demo_secrets.py::test_the_demonstration_writes_no_secret",
            "tests/unit/test_redaction.py::test_no_coding_of_a_secret_passes_any_logger",
            f"{FAULTS}redaction.py::test_without_redaction_a_password_reaches_the_journal_the_mails_and_the_pages",
        ),
    ),
    Scenario(
        18,
        "odd names and SQL in names",
        (
            "tests/fuzz/test_fuzz_commands.py::test_1_500_command_lines_leave_the_ledger_whole",
            f"{TARGET}quoting_a_role_opens_the_refreshed_database_to_everybody",
        ),
    ),
    Scenario(
        19,
        "paths and shells in versions",
        (
            "tests/fuzz/test_fuzz_commands.py::test_any_form_is_submitted_or_refused",
            "tests/playbooks/test_ansible_runs.py::test_texts_are_never_evaluated",
            f"{FAULTS}playbooks.py::test_without_marking_texts_a_customers_text_runs_a_command_on_the_worker",
        ),
    ),
    Scenario(
        20,
        "somebody who may not ask",
        (
            "tests/unit/test_permissions.py::test_every_cell",
            f"{BARE}the_second_look_at_rights_work_starts_for_somebody_who_may_not_ask",
        ),
    ),
    Scenario(
        21,
        "an unmasked copy that somebody can see",
        (
            f"{FAULTS}set.py::test_nothing_is_lost_mixed_or_unmasked_for_a_long_time",
            "tests/integration/test_refresh_steps.py::test_nobody_may_enter_the_incoming_database",
            "tests/integration/test_refresh_steps.py::test_a_new_column_stops_the_refresh_and_prints_what_to_add",
        ),
    ),
    Scenario(
        22,
        "a run is cancelled at any moment, twice",
        (
            f"{FAULTS}signals.py::test_a_cancelled_run_is_put_back_by_the_worker_itself",
            f"{FAULTS}signals.py::test_a_second_signal_during_the_put_back_leaves_the_rest_to_the_next_worker",
            f"{FAULTS}signals.py::test_a_signal_between_two_steps_leaves_the_run_to_the_next_worker",
            f"{UPGRADE}putting_back_on_a_cancel_the_page_stays_and_the_upgrade_goes_on",
            f"{UPGRADE}regard_for_a_second_signal_the_site_is_locked",
        ),
    ),
    Scenario(
        23,
        "Prefect's server is down or hangs during a run",
        (
            f"{FAULTS}prefect.py::test_a_run_ends_right_without_its_prefect_server",
            f"{FAULTS}prefect.py::test_a_run_that_is_heard_of_no_more_is_shown_as_crashed_until_the_ledger_knows",
            f"{TELLING}a_display_of_its_own_a_dead_prefect_server_ends_the_work",
        ),
    ),
    Scenario(
        24,
        "the ledger is down",
        (
            f"{FAULTS}cut_off.py::test_a_run_outlives_a_short_absence_of_the_ledger",
            f"{FAULTS}cut_off.py::test_a_ledger_that_stays_away_stops_the_worker_before_its_next_act",
            f"{FAULTS}cut_off.py::test_sessions_of_the_ledger_that_are_ended_again_and_again_change_nothing",
            f"{UPGRADE}patience_a_ledger_that_is_away_for_a_moment_leaves_the_page_up",
        ),
    ),
    Scenario(
        25,
        "a migration is half applied",
        (
            f"{FAULTS}kills.py::test_a_killed_worker_leaves_the_old_or_the_new_state",
            f"{FAULTS}cut_off.py::test_a_put_back_waits_for_a_target_that_was_lost",
            f"{UPGRADE}the_snapshots_the_old_program_meets_the_new_schema",
        ),
    ),
    Scenario(
        26,
        "orphans, and look-alikes of others",
        (
            f"{FAULTS}sweep.py::test_only_what_is_ours_ended_and_over_is_dropped",
            f"{FAULTS}sweep.py::test_the_sweep_brings_an_abandoned_run_to_its_end",
            f"{FAULTS}sweep.py::test_nothing_of_a_live_run_is_dropped",
        ),
    ),
    Scenario(
        27,
        "a playbook is cut off or a host is not reached",
        (
            "tests/playbooks/test_ansible_runs.py::test_what_is_cut_off_leaves_nothing_running",
            "tests/playbooks/test_ansible_runs.py::test_an_unreachable_host_is_not_a_failed_one",
            "tests/playbooks/test_ansible_runs.py::test_a_worker_that_dies_or_freezes_leaves_nothing_to_its_successor",
            f"{FAULTS}playbooks.py::test_without_the_scan_for_cookies_a_frozen_workers_playbook_goes_on",
        ),
    ),
)
