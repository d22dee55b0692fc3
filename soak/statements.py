"""What is promised, statement by statement, and which tests prove it; the scenarios beside this module measure the rest."""

from __future__ import annotations

from typing import NamedTuple


class Statement(NamedTuple):
    """A promise in one sentence, and its tests as `path` or `path::test`, below tests/."""

    words: str
    tests: tuple[str, ...] = ()
    beside: str = ""  # where else it is measured


STATEMENTS: dict[int, Statement] = {
    1: Statement(
        "No value of any type raises into the service, and each refused one is counted.",
        ("test_hostile.py", "record/test_monitor.py::test_no_value_raises"),
    ),
    2: Statement(
        "A bad value affects only itself: the good stream counts to the bit as without it.",
        (
            "test_hostile.py::test_the_good_stream_counts_to_the_bit",
            "test_kernel.py::test_bad_neighbours_do_not_change_good_values",
        ),
    ),
    3: Statement(
        "A store that never answers costs staleness: memory and calls stay as they were, and nothing is lost.",
        ("record/test_worker.py::test_a_stuck_store_bounds_the_memory",),
    ),
    4: Statement(
        "A store that never answers fails and slows no request.",
        ("integrations/test_asgi.py::test_stuck_store_fails_no_request",),
    ),
    5: Statement("A record call costs microseconds.", (), "[benchmarks.md](benchmarks.md)"),
    6: Statement(
        "No file, socket, SQLite, statistic or lock on the request path.",
        (
            "record/test_monitor.py::test_nothing_is_opened_on_the_request_path",
            "record/test_monitor.py::test_a_request_waits_for_no_lock",
        ),
    ),
    7: Statement(
        "Counts are never dropped for a full buffer: its caller folds a chunk. Samples for review are dropped, the newest "
        "first, and counted. A label is on the disk, or its caller is told that it may not be (503).",
        (
            "record/test_recorder.py::test_a_full_buffer_is_folded_by_its_caller",
            "record/test_recorder.py::test_a_holder_that_is_only_slow_loses_nothing",
            "groundtruth/test_writer.py::test_when_too_many_wait_the_newest_are_dropped_and_counted",
            "groundtruth/test_durability.py::test_a_full_disk_takes_no_label_that_it_acknowledges_not",
            "groundtruth/test_feedback.py::test_what_cannot_be_made_durable_is_not_acknowledged",
        ),
    ),
    8: Statement(
        "What is given up, because a value's own code blocks the counting, is seen within 5 s.",
        ("record/test_drops.py",),
    ),
    9: Statement(
        "Memory is bounded for ever, and the millionth call costs what the first did.",
        (
            "record/test_recorder.py::test_memory_is_flat_over_two_million_events",
            "store/test_windows.py::test_memory_is_flat_over_forty_days",
        ),
        "[benchmarks.md](benchmarks.md)",
    ),
    10: Statement(
        "A scrape at the cap of every label is quick, small and off the event loop.",
        (
            "integrations/test_asgi.py::test_scrape_is_answered_off_the_loop_while_every_thread_is_busy",
            "integrations/test_fastapi.py::test_page_at_the_cap_of_labels",
        ),
        "[benchmarks.md](benchmarks.md)",
    ),
    11: Statement(
        "Every label has a cap; the sum over its values is every event.",
        (
            "test_kernel.py::test_label_caps_keep_totals_exact",
            "test_labels.py::test_many_distinct_values_take_little_memory",
            "test_hostile.py::test_distinct_values_without_end",
        ),
    ),
    12: Statement(
        "What is over a cap is a metric, and a panel that shows a capped label says that it is incomplete.",
        ("server/test_incomplete.py", "test_kernel.py::test_an_error_counts_once_as_overflow"),
    ),
    13: Statement(
        "Requests are named by routes, never by paths.",
        ("integrations/test_asgi.py::test_endpoints_are_routes_never_paths",),
    ),
    14: Statement(
        "Any text is a safe label: bounded, told apart, and read back alike by every parser.",
        ("test_labels.py", "test_exposition.py::test_promtool_accepts_hostile_labels_and_every_family"),
    ),
    15: Statement(
        "A collector that raises, or returns garbage, costs only its own family.", ("record/test_foreign.py",)
    ),
    16: Statement(
        "A call of every kind is counted once, over the whole time that it took.",
        ("record/test_watch.py", "integrations/test_asgi.py"),
    ),
    17: Statement(
        "Who leaves is cancelled: neither an error nor a duration, and not in progress any more.",
        ("servers/test_disconnects.py", "integrations/test_asgi.py::test_disconnected_clients_are_cancelled"),
    ),
    18: Statement(
        "A failure has a duration; one in the middle of a stream is a failure.",
        (
            "record/test_watch.py::test_a_failure_has_a_type_and_a_duration",
            "integrations/test_asgi.py::test_failures_are_one_failed_request_with_a_duration",
        ),
    ),
    19: Statement(
        "A clock that steps bends no duration, loses no minute and doubles none.",
        ("record/test_clock.py", "store/test_writer.py::test_a_step_of_the_clock_loses_and_doubles_nothing"),
    ),
    20: Statement(
        "A dead feed reads as dead: within two windows every derived number is 0 or absent, never the last value.",
        ("test_silence.py",),
    ),
    21: Statement(
        "Totals are exact over threads.",
        ("record/test_recorder.py::test_eight_threads_are_exact",),
    ),
    22: Statement(
        "Each event is in exactly one minute, enters each window once and leaves it once: a thousand orders of folds, "
        "commits, failures, kills, compaction and reads.",
        ("store/test_interleavings.py", "store/test_windows.py", "store/test_compaction.py"),
    ),
    23: Statement(
        "A fork at the worst moment neither hangs nor loses nor doubles anything.",
        ("record/test_fork.py",),
    ),
    24: Statement(
        "Workers die under load: no counter falls, a flush interval is lost at most, deaths are counted, and the dead "
        "leave no gauge and cost no scrape.",
        ("servers/test_workers.py", "record/test_worker.py::test_sigkill_loses_at_most_the_last_flush"),
    ),
    25: Statement(
        "A torn, flipped, foreign or newer file costs no scrape, and nobody else's counts.",
        ("store/test_damage.py",),
    ),
    26: Statement(
        "`__del__` and signal handlers may record, and log handlers may fail.",
        (
            "record/test_recorder.py::test_recording_from_the_collector_and_from_signals",
            "record/test_recorder.py::test_logging_from_inside_does_not_recurse",
        ),
    ),
    27: Statement(
        "A service ends in time although its store hangs, says what it could not store, and keeps its time-outs.",
        (
            "record/test_worker.py::test_exit_with_a_hung_store",
            "record/test_worker.py::test_flush_keeps_its_timeout_when_the_disk_hangs",
            "record/test_worker.py::test_os_exit_after_a_flush_loses_nothing",
        ),
    ),
    28: Statement(
        "Labels that are unknown, twice given, conflicting, late or of requests that were not chosen have states of "
        "their own, and move no number.",
        (
            "groundtruth/test_labelling.py::test_ids_that_were_not_chosen_move_no_number",
            "groundtruth/test_labelling.py::test_an_early_label_waits_for_its_sample",
            "groundtruth/test_labelling.py::test_a_label_of_long_ago_is_late",
            "groundtruth/test_feedback.py::test_what_is_refused",
        ),
    ),
    29: Statement(
        "The same label a hundred times is one; another one is a revision, and who said what is kept; workers that "
        "label one id at once make one row.",
        (
            "groundtruth/test_labelling.py::test_the_same_label_a_hundred_times_is_one",
            "groundtruth/test_labelling.py::test_another_label_is_a_revision_and_the_latest_wins",
            "groundtruth/test_labelling.py::test_workers_that_label_the_same_id_at_once",
        ),
    ),
    30: Statement(
        "Samples and labels in any order, with restarts between, give the same rows, and the same views to 1e-12.",
        ("groundtruth/test_labelling.py::test_any_order_gives_the_same_rows",),
    ),
    31: Statement(
        "A prediction on one worker and its label on another find each other, and count once.",
        (
            "groundtruth/test_writer.py::test_a_prediction_here_and_its_label_there",
            "groundtruth/test_labelling.py::test_a_sample_and_its_label_at_once_on_two_workers",
        ),
    ),
    32: Statement(
        "Few labels are no number: how many are missing is told instead, an interval stands beside each number, and the "
        "alert asks for its bound.",
        (
            "test_quality.py::test_too_few_labels_are_no_number",
            "test_quality.py::test_young_windows_are_not_decided_on",
            "stats/test_accuracy.py::test_wilson_goldens",
            "stats/test_accuracy.py::test_alert_bound_is_quiet_at_the_target",
            "alerts/test_catalogue.py::test_does_not_fire_on_few_samples",
        ),
        "[alerts.md](alerts.md)",
    ),
    33: Statement(
        "A label costs the same with a thousand samples and with millions.", beside="[benchmarks.md](benchmarks.md)"
    ),
    34: Statement(
        "What is missing is a signal: counted by feature, alerted on, and the rest is judged all the same.",
        (
            "test_drift_detectors.py::test_a_broken_feed_alerts",
            "test_drift_detectors.py::test_one_bad_value_affects_only_itself",
            "alerts/test_catalogue.py",
        ),
    ),
    35: Statement(
        "No feature holds back another: each has a window of its own.",
        ("test_drift_detectors.py::test_no_feature_holds_back_another",),
    ),
    36: Statement(
        "Bins are open at both ends: answers outside of what training knew are seen.",
        ("test_drift_detectors.py::test_logits_are_told_apart",),
    ),
    37: Statement(
        "Drift is told from chance: five values of a thousand tell nothing, and quiet data are quiet.",
        (
            "test_drift_detectors.py::test_five_values_of_a_thousand_tell_nothing",
            "stats/test_decision.py::test_few_values_cannot_tell",
        ),
        "[drift.md](drift.md)",
    ),
    38: Statement(
        "Windows are judged off the request path, in bounded time; what cannot be judged is counted, and never queued.",
        (
            "test_drift_detectors.py::test_two_hundred_features_are_judged_in_time",
            "test_drift_detectors.py::test_no_more_threads",
        ),
    ),
    39: Statement(
        "A crash, or a restart, keeps what was counted, and a broken model never becomes the baseline.",
        (
            "sources/test_baseline.py::test_a_crash_hides_no_incident",
            "test_drift_detectors.py::test_production_is_never_the_baseline",
            "test_deaths.py::test_what_a_flush_has_kept_survives_death_at_random_times",
        ),
    ),
    40: Statement(
        "Files are data: none is run, whatever it is called.",
        ("test_safety.py", "test_profile.py::test_a_pickle_under_any_name_does_not_run"),
    ),
    41: Statement(
        "A try to tell a receiver takes five seconds at most, whatever the receiver does, and no receiver waits for another.",
        (
            "notify/test_client.py::test_a_receiver_without_an_answer_costs_the_wall_time_at_most",
            "notify/test_dispatcher.py::test_a_receiver_that_hangs_delays_no_other",
            "notify/test_senders.py::test_a_mail_server_that_hangs_costs_the_wall_time_at_most",
        ),
    ),
    42: Statement(
        "A change of an alert is on the disk before anybody is told: kill -9 loses no notice, and one that comes twice has "
        "the same key.",
        ("notify/test_deaths.py::test_kills_lose_no_notice",),
    ),
    43: Statement(
        "What a receiver does not take is tried again with patience; after an outage the present is told and not the past; "
        "what it refuses is told through another one.",
        (
            "notify/test_outbox.py::test_after_an_outage_the_present_is_told_and_not_the_past",
            "notify/test_dispatcher.py::test_retry_after_is_obeyed_by_all_that_goes_to_the_receiver",
            "notify/test_dispatcher.py::test_what_a_receiver_refuses_is_told_through_another",
        ),
    ),
    44: Statement(
        "A storm is one notice an alert, model and receiver in each interval; a value that flaps for an hour is two.",
        (
            "notify/test_grouping.py::test_a_storm_is_a_notice_a_model_and_receiver",
            "notify/test_grouping.py::test_a_flapping_value_is_two_notices_an_hour",
        ),
    ),
    45: Statement(
        "Every rule can fire and can stay silent: at its limit, without data, over a restart, and on the page of a real "
        "service; a mistake that is planted in one is found.",
        (
            "alerts/test_catalogue.py",
            "test_differential_alerts.py",
            "generate/test_tools.py::test_rules_do_as_their_tests_say",
            "generate/test_tools.py::test_mutants_are_killed",
            "generate/test_drift_rules.py::test_generated_tests_kill_mutants",
            "generate/test_closed_loop.py",
        ),
    ),
    46: Statement(
        "Silence is never health: of whatever part is killed, somebody outside it tells.",
        (
            "drill/test_drill.py::test_every_fault_is_told_and_its_end_as_well",
            "notify/test_heartbeat.py::test_a_monitor_that_does_not_evaluate_is_missed",
            "server/test_pages.py::test_silence_is_not_health",
            "generate/test_end_to_end.py::test_an_incident_from_end_to_end",
        ),
        "[drill.md](drill.md)",
    ),
    47: Statement(
        "A label that was acknowledged outlives kill -9; a torn log costs its tail only.",
        (
            "groundtruth/test_durability.py::test_killed_workers_lose_no_label_that_was_acknowledged",
            "groundtruth/test_durability.py::test_a_torn_log_costs_its_tail_only",
        ),
    ),
    48: Statement(
        "A disk that is full, read-only or locked, and a file that is deleted, cost staleness; counts come back.",
        (
            "store/test_damage.py",
            "store/test_writer.py::test_a_deleted_file_is_made_again_with_all_own_counts",
            "groundtruth/test_durability.py",
        ),
    ),
    49: Statement(
        "A store of a newer version is refused and left as it is; a backup taken under load restores to one moment.",
        (
            "groundtruth/test_opening.py::test_a_newer_file_is_refused_and_left_untouched",
            "groundtruth/test_durability.py::test_a_backup_of_a_file_under_load",
        ),
    ),
    50: Statement(
        "Closed by default: this machine alone without a token, every route asks for its role with one, and no secret is in "
        "a log, a page, a file or a representation.",
        (
            "serve/test_guard.py",
            "integrations/test_scrapetoken.py",
            "groundtruth/test_feedback.py::test_a_token_is_required_where_there_is_one",
            "groundtruth/test_feedback.py::test_a_client_is_limited",
            "groundtruth/test_ids.py",
            "generate/test_generate.py::test_secrets_are_in_no_file",
            "generate/test_generate.py::test_no_default_password",
            "notify/test_senders.py::test_no_secret_is_in_a_representation",
            "test_config.py::test_secrets_are_never_shown",
        ),
    ),
    51: Statement(
        "No text of others runs in a page, a report, a message or a table.",
        (
            "server/test_walk.py::test_a_hundred_payloads_do_nothing",
            "server/test_walk.py::test_payloads_under_review_do_nothing",
            "server/test_walk.py::test_payloads_are_no_formulas_of_a_table",
            "server/test_review.py::test_a_post_from_elsewhere_is_refused",
            "server/test_review.py::test_only_known_names_are_answered",
            "report/test_report.py::test_hostile_names_stay_text",
            "notify/test_senders.py::test_slack_calls_nobody_and_links_nowhere",
            "notify/test_senders.py::test_a_mail_with_markup_in_every_field",
        ),
    ),
    52: Statement(
        "No name of others leads to another file, no message to an address that was not meant, and no redirect is followed.",
        (
            "test_safety.py::test_no_name_in_an_address_leads_to_a_file",
            "generate/test_generate.py::test_hostile_paths_stay_inside",
            "notify/test_client.py",
            "sources/test_prometheus.py::test_a_redirect_is_not_followed",
        ),
        "`make audit`",
    ),
}
