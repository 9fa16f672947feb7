//! What every engine must do, in one list of cases.
//!
//! Each engine's test file hands `suite!` a function that makes a fresh store; every case becomes a
//! test of that file, under its heading. The list: `cargo test -p celeriac-broker -- --list`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "cases are tests: they end at the first surprise"
)]

pub(crate) mod admission;
pub(crate) mod awaiting;
pub(crate) mod calling;
pub(crate) mod cancelling;
pub(crate) mod dead;
pub(crate) mod depending;
pub(crate) mod events;
pub(crate) mod following;
pub(crate) mod key_values;
pub(crate) mod kit;
pub(crate) mod leases;
pub(crate) mod limiting;
pub(crate) mod listing;
pub(crate) mod modules;
pub(crate) mod moving;
pub(crate) mod once;
pub(crate) mod operations;
pub(crate) mod ordering;
pub(crate) mod outcomes;
pub(crate) mod overlapping;
pub(crate) mod pausing;
pub(crate) mod redoing;
pub(crate) mod reserving;
pub(crate) mod retrying;
pub(crate) mod schedules;
pub(crate) mod submitting;
pub(crate) mod timing;
pub(crate) mod waiting;

/// The whole list, by heading: the eight invariants of the design first, then one group for each concern.
macro_rules! suite {
    ($open:path) => {
        suite! { @expand $open;
            invariant_1_accepted_is_never_lost {
                submitting::survives_the_end_of_every_process,
                submitting::submitting_twice_is_submitting_once,
                leases::comes_back_after_each_crash_until_it_is_settled,
            }
            invariant_2_one_outcome_under_the_lease {
                reserving::two_hosts_never_get_the_same_invocation,
                outcomes::refuses_a_late_settle_and_keeps_the_newer_outcome,
                outcomes::a_late_settle_does_not_end_the_attempt_that_runs,
                outcomes::settling_again_after_a_lost_answer_is_written,
                outcomes::an_outcome_never_changes,
            }
            invariant_3_leases {
                leases::a_dead_hosts_invocation_runs_elsewhere_within_the_lease_and_a_second,
                leases::a_live_host_keeps_its_lease_by_renewing,
                leases::a_host_that_waits_sees_a_lease_run_out,
            }
            invariant_4_crashes {
                leases::quarantines_what_has_killed_three_hosts,
                leases::counts_crashes_apart_from_attempts,
                leases::giving_back_is_no_crash_and_no_attempt,
            }
            invariant_5_a_lost_lease_writes_nothing {
                leases::a_lost_lease_is_refused_everywhere,
                leases::renewing_names_what_is_lost,
                leases::giving_back_a_lost_lease_changes_nothing,
            }
            invariant_6_hosts_are_new_at_each_start {
                leases::a_host_that_starts_again_does_not_hold_the_old_lease,
            }
            invariant_7_nothing_polls_and_all_is_bounded {
                waiting::a_submit_from_another_process_wakes_a_reserve,
                waiting::a_release_from_another_process_wakes_a_reserve,
                waiting::an_interrupt_makes_a_reserve_return,
                waiting::an_interrupt_from_another_process_makes_a_reserve_return,
                waiting::an_interrupt_is_not_too_early,
                waiting::a_reserve_returns_when_its_wait_is_over,
                outcomes::results_expire,
                events::keeps_a_thousand_events_or_little_more,
                awaiting::a_client_that_has_gone_leaves_nothing_behind,
            }
            invariant_8_the_same_module_for_every_attempt {
                modules::pins_the_digest_when_it_accepts,
                modules::runs_the_same_digest_after_a_crash,
                modules::keeps_a_module_while_it_is_in_use,
            }
            submit {
                submitting::refuses_an_input_over_the_cap_before_anything_is_stored,
                submitting::answers_each_item_by_itself,
                submitting::refuses_ids_of_another_store,
                submitting::chooses_the_queue,
                submitting::a_task_has_defaults_and_its_callers_go_over_them,
            }
            reserve {
                reserving::hands_out_the_whole_record,
                reserving::first_in_first_out,
                reserving::queues_in_the_order_of_the_request,
                reserving::a_crashed_invocation_goes_first,
                reserving::given_back_invocations_go_first_in_their_order,
                reserving::takes_eight_mebibytes_at_once_and_at_least_one,
                reserving::takes_nothing_when_there_is_no_room,
            }
            order {
                ordering::a_higher_band_goes_first_and_a_band_is_first_in_first_out,
                ordering::what_has_aged_in_a_lower_band_gets_each_fourth_place,
                ordering::keys_are_served_in_turn,
                ordering::a_million_of_one_key_do_not_delay_another,
                ordering::what_comes_back_goes_first_in_its_band_and_key,
                ordering::what_is_due_enters_its_band,
                ordering::what_is_cancelled_leaves_no_hole,
                ordering::what_an_end_lets_go_into_another_band_is_found,
                ordering::quotas_share_and_leave_nothing_unused,
                ordering::a_host_that_waits_hears_of_every_band,
                ordering::random_orders_lose_nothing_and_leave_nothing_behind,
                ordering::refuses_keys_that_are_no_words,
            }
            limits {
                limiting::a_queue_runs_so_many_at_once,
                limiting::a_task_runs_so_many_at_once_and_holds_up_no_other,
                limiting::each_key_runs_so_many_at_once_and_one_may_differ,
                limiting::a_host_that_waits_is_woken_when_there_is_room,
                limiting::a_dead_host_gives_back_what_it_held,
                limiting::survives_the_end_of_every_process,
                limiting::what_is_cancelled_or_expires_while_it_is_held_back_blocks_nobody,
                limiting::a_limit_that_is_raised_or_removed_lets_go_at_once,
                limiting::what_is_held_back_in_many_queues_goes_on_in_all_of_them,
                limiting::what_is_held_back_counts_for_the_age_of_the_oldest,
                limiting::bands_and_keys_hold_among_those_that_are_held_back,
                limiting::a_rate_lets_so_many_start_and_goes_on_by_itself,
                limiting::refuses_limits_that_make_no_sense,
                limiting::counts_never_exceed_and_never_leak,
            }
            admission {
                admission::refuses_what_has_no_room_and_says_why,
                admission::a_bound_holds_at_once_for_every_process_and_goes_at_once,
                admission::what_another_stands_for_takes_no_room,
                admission::what_was_accepted_comes_back_to_a_full_queue,
                admission::a_batch_is_accepted_whole_or_not_at_all,
                admission::ten_thousand_in_chunks,
                admission::the_depth_is_right_in_every_order,
            }
            settle {
                outcomes::an_output_over_the_cap_becomes_a_failure,
                outcomes::large_and_empty_outputs_come_back_whole,
                outcomes::a_failure_comes_back_whole,
                outcomes::answers_a_batch_in_order,
            }
            retry {
                retrying::waits_its_pause_and_runs_again,
                retrying::tells_waiters_of_the_last_outcome_only,
                retrying::a_lost_lease_retries_nothing,
                retrying::retrying_again_after_a_lost_answer_is_written,
                retrying::what_shall_stop_is_not_tried_again,
                retrying::is_cancelled_at_once_while_it_waits,
                retrying::tells_crashes_from_failures,
                retrying::keeps_the_trail_beside_the_outcome,
                retrying::runs_the_module_of_the_first_attempt,
                retrying::events_name_their_attempt,
                retrying::survives_the_end_of_every_process,
            }
            time {
                timing::starts_when_its_delay_is_over,
                timing::starts_at_a_time_and_at_once_when_that_has_passed,
                timing::an_earlier_time_overtakes_a_later_one,
                timing::a_full_host_holds_up_nothing_that_is_due,
                timing::a_host_that_dies_holds_up_nothing_for_long,
                timing::many_that_are_due_at_once_all_start_in_order,
                timing::what_is_scheduled_is_counted,
                timing::what_is_scheduled_is_cancelled_at_once,
                timing::expires_unless_it_was_started,
                timing::expires_while_it_is_scheduled,
                timing::what_was_started_does_not_expire,
                timing::what_has_expired_is_never_handed_out,
                timing::a_deadline_ends_what_is_queued,
                timing::a_deadline_ends_what_waits_for_its_retry,
                timing::a_deadline_ends_what_comes_back_after_it,
                timing::tells_a_host_what_is_left_until_the_deadline,
                timing::leaves_no_times_behind,
                timing::refuses_times_that_make_no_sense,
            }
            once {
                once::the_same_key_and_input_is_the_same_invocation,
                once::the_same_key_and_another_input_is_refused,
                once::an_idempotency_key_is_free_when_the_result_has_expired,
                once::one_batch_knows_its_own_keys,
                once::an_idempotency_key_is_held_as_long_as_others_read_the_result,
                once::an_idempotency_key_is_held_as_long_as_the_dead_letter,
                once::a_unique_key_is_held_until_the_end,
                once::every_end_frees_the_key,
                once::a_key_may_be_held_only_while_it_waits,
                once::a_key_may_be_held_for_a_window,
                once::the_caller_may_get_the_one_that_is_there,
                once::what_waits_is_replaced_and_what_runs_is_not,
                once::what_replaces_its_own_parent_does_not_wait_for_ever,
                once::what_is_refused_leaves_no_key_behind,
                once::many_at_once_are_one,
                once::debounces,
                once::throttles,
                once::refuses_keys_that_are_none,
            }
            schedules {
                schedules::fires_at_its_times_and_notes_what_it_did,
                schedules::many_hosts_fire_each_time_once,
                schedules::times_without_a_host_are_caught_up_once,
                schedules::times_without_a_host_are_caught_up_one_by_one,
                schedules::a_time_is_left_out_while_an_earlier_run_goes_on,
                schedules::one_time_waits_for_the_earlier_run,
                schedules::the_end_of_a_run_lets_go_of_the_time_that_waits,
                schedules::runs_overlap_where_they_may,
                schedules::what_is_paused_does_not_fire_and_what_is_resumed_does,
                schedules::runs_now_when_somebody_asks,
                schedules::a_run_that_is_asked_for_again_is_the_same,
                schedules::what_is_removed_fires_no_more,
                schedules::putting_again_changes_what_is_different,
                schedules::the_module_is_the_one_that_the_name_points_to_when_it_fires,
                schedules::a_task_that_is_missing_is_noted_and_stops_nothing,
                schedules::survives_the_end_of_every_process,
                schedules::a_host_that_waits_hears_of_a_new_schedule,
                schedules::a_run_that_crashes_comes_back_and_counts_as_one,
                schedules::refuses_what_makes_no_sense,
                overlapping::a_run_counts_however_many_times_were_left_out,
                overlapping::one_time_waits_however_many_were_left_out,
                overlapping::a_run_counts_however_many_were_asked_for,
                overlapping::caught_up_times_run_one_after_another,
                overlapping::what_was_missed_waits_for_the_run_that_a_host_left,
                overlapping::what_is_refused_has_no_other_time_wait,
                overlapping::a_run_that_is_refused_says_why_and_is_noted,
            }
            cancel {
                cancelling::what_waits_is_cancelled_at_once,
                cancelling::the_host_of_what_runs_is_told,
                cancelling::renewing_names_what_shall_stop,
                cancelling::what_has_ended_stays_as_it_is,
                cancelling::what_was_to_stop_does_not_run_again_after_a_crash,
                cancelling::what_was_to_stop_does_not_run_again_when_given_back,
            }
            dependencies {
                depending::starts_when_the_last_parent_has_succeeded,
                depending::a_parent_that_has_ended_counts_at_once,
                depending::parents_and_children_come_in_one_batch,
                depending::refuses_what_cannot_be_waited_for,
                depending::waits_for_the_end_that_it_wants,
                depending::fails_or_is_skipped_when_it_does_not_come,
                depending::what_cannot_come_any_more_ends_at_once,
                depending::a_failure_goes_down_the_chain,
                depending::a_chain_of_thousands_ends_when_its_head_fails,
                depending::thousands_of_dependents_are_let_go,
                depending::thousands_of_dependents_fail,
                depending::is_cancelled_at_once_while_it_waits,
                depending::expires_while_it_waits,
                depending::waits_for_its_time_too,
                depending::keeps_what_its_parents_came_to_until_it_has_ended,
                depending::every_end_of_a_parent_counts,
                depending::too_many_for_one_are_refused,
                depending::is_counted_and_shown,
                depending::submitting_twice_waits_once,
            }
            calls {
                calling::what_is_called_is_recorded_with_its_caller,
                calling::a_cancel_alone_leaves_what_was_called,
                calling::a_cancel_with_children_stops_all_below,
                calling::a_cancel_goes_on_through_thousands,
            }
            callbacks {
                following::a_task_follows_the_end_that_it_is_about,
                following::a_url_is_told_by_the_host_itself,
                following::one_that_cannot_be_run_refuses_its_invocation_alone,
            }
            await_results {
                awaiting::tells_unknown_from_expired,
                awaiting::tells_every_waiter_once,
                awaiting::tells_a_thousand_in_another_process,
                awaiting::an_outcome_that_is_there_is_returned_at_once,
                awaiting::reads_many_outcomes_in_order,
                awaiting::a_large_outcome_is_announced_and_read,
            }
            events {
                events::gives_history_then_what_comes,
                events::resumes_after_a_cursor,
                events::carries_all_three_kinds,
                events::is_heard_in_another_process,
                events::the_last_progress_is_in_the_status,
            }
            modules {
                modules::a_name_moves_and_a_version_does_not,
                modules::publishing_needs_the_bytes,
                modules::refuses_a_module_over_the_cap,
                modules::refuses_the_built_in_name,
                modules::removes_names_versions_and_digests,
            }
            key_values {
                key_values::values_come_back_whole,
                key_values::a_key_whose_time_is_over_is_not_there,
                key_values::setting_again_sets_the_time_again,
                key_values::tokens_have_a_store_that_no_module_can_name,
                key_values::modules_never_see_each_other,
                key_values::refuses_what_is_no_key_and_what_is_too_large,
                key_values::increments_from_many_sum_up_exactly,
                key_values::increments_are_exact_and_refuse_what_is_no_number,
                key_values::an_increment_gives_a_time_only_to_what_it_makes,
                key_values::one_of_many_wins_a_compare_and_set,
                key_values::compare_and_set_knows_every_case,
                key_values::lists_page_by_page_in_the_order_of_bytes,
                key_values::a_module_has_so_many_keys_at_most,
                key_values::a_module_has_so_many_bytes_at_most,
                key_values::what_has_expired_makes_room,
                key_values::outlives_handles_and_modules,
            }
            listing {
                listing::lists_by_state,
                listing::lists_by_queue_and_task,
                listing::lists_by_key,
                listing::lists_by_age_and_moment,
                listing::pages_give_everything_that_stays,
                listing::refuses_a_cursor_that_is_none,
            }
            dead_letters {
                dead::failures_are_kept_and_found,
                dead::pages_go_from_the_newest_to_the_oldest,
                dead::the_oldest_go_when_there_are_too_many,
                dead::a_letter_outlives_its_result_until_it_is_dropped,
                dead::a_retry_takes_the_letters_place_once,
                dead::a_failure_keeps_its_recording,
                dead::what_was_handed_in_can_be_read,
                redoing::a_retry_reads_what_its_parents_came_to,
                redoing::parents_are_kept_until_the_retry_has_ended,
                redoing::a_webhook_is_retried_with_its_outcome,
                redoing::a_retry_whose_parents_are_gone_is_refused,
                redoing::what_failed_for_a_parent_is_retried_on_what_somebody_says,
                redoing::an_idempotency_key_stays_with_the_letter,
                redoing::a_retry_takes_over_the_unique_key_of_its_letter,
                redoing::a_retry_leaves_its_key_to_who_holds_it_now,
                redoing::a_retry_replaces_what_waits_with_its_key,
                redoing::what_a_task_has_called_is_retried_by_itself,
            }
            pausing {
                pausing::nothing_is_taken_from_a_paused_queue,
                pausing::a_paused_queue_wakes_nobody_and_a_resume_wakes_at_once,
                pausing::a_paused_host_takes_nothing_and_others_go_on,
                pausing::pauses_are_listed_and_outlive_processes,
                pausing::a_paused_task_stands_aside_until_it_is_resumed,
                pausing::a_pause_of_a_task_leaves_its_limit_alone,
                pausing::a_retry_of_a_paused_task_waits_and_a_resume_wakes_at_once,
                pausing::a_host_hears_what_it_is_told,
            }
            moving {
                moving::what_waits_for_a_host_moves_in_its_order,
                moving::thousands_move_in_steps,
                moving::what_waits_for_a_time_or_for_others_moves,
                moving::what_is_held_back_moves_too,
                moving::some_are_picked_out_and_the_others_stay,
                moving::what_runs_comes_back_to_the_new_queue_when_asked,
                moving::bounds_and_pauses_hold_on_both_sides,
                moving::a_queue_is_forgotten_when_nothing_is_in_it,
                moving::nothing_is_lost_or_doubled_by_moves,
            }
            operations {
                operations::counts_queues,
                operations::a_queue_keeps_its_results_for_a_time_of_its_own,
                operations::lists_hosts_that_live,
                operations::finds_a_fresh_store_sound,
                operations::the_status_follows_an_invocation,
            }
        }
    };
    (@expand $open:path; $($heading:ident { $($module:ident :: $case:ident),* $(,)? })*) => {
        $(mod $heading {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let store = $open(crate::conformance::kit::Settings::default()).await;
                crate::conformance::$module::$case(crate::conformance::kit::Kit::new(store).await).await;
            })*
        })*
    };
}
