//! The conformance suite: every promise of `Store`, as a named test against SQLite and against a real PostgreSQL, and what
//! a person reads when a store cannot be opened. A new backend adds one line to `promises!` and a `Bed`.
#![expect(clippy::unwrap_used, reason = "a step that fails, fails the test")]

mod alerts;
mod audit;
mod captures;
mod faults;
mod journal;
mod life;
mod long_life;
mod owners;
mod portable;
mod readings;
mod retention;
mod rollups;
mod runs;
mod samples;
mod series;
mod telling;
mod views;

use std::sync::Arc;

use plimsoll::store::{Store, open};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::servers::postgres::Postgres;

/// An open store on an empty database.
struct Bed {
    store: Arc<dyn Store>,
    url: String,
    _folder: Option<TempDir>,
}

impl Bed {
    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/plimsoll.db", folder.path().display());
        Self { store: open(&url).await.unwrap(), url, _folder: Some(folder) }
    }

    async fn postgres() -> Self {
        let url = Postgres::fresh_database().await;
        Self { store: open(&url).await.unwrap(), url, _folder: None }
    }

    /// The same database, opened once more, as another process would.
    async fn opened_again(&self) -> Arc<dyn Store> {
        open(&self.url).await.unwrap()
    }

    /// Bytes as the database's SQL writes them.
    fn literal(&self, bytes: &[u8]) -> String {
        let hex = bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        if self.url.starts_with("sqlite") { format!("x'{hex}'") } else { format!("'\\x{hex}'::bytea") }
    }

    /// Fails unless a question beside the store has this whole number as its answer.
    async fn holds(&self, sql: &str, expected: i64) {
        let query = sqlx::AssertSqlSafe(sql.to_owned());
        let found: i64 = if self.url.starts_with("sqlite") {
            sqlx::query_scalar(query).fetch_one(&mut SqliteConnection::connect(&self.url).await.unwrap()).await.unwrap()
        } else {
            sqlx::query_scalar(query).fetch_one(&mut PgConnection::connect(&self.url).await.unwrap()).await.unwrap()
        };
        assert_eq!(found, expected, "{sql}");
    }

    /// Runs a statement beside the store.
    async fn sql(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.url.starts_with("sqlite") {
            SqliteConnection::connect(&self.url).await.unwrap().execute(sql).await.unwrap();
        } else {
            PgConnection::connect(&self.url).await.unwrap().execute(sql).await.unwrap();
        }
    }
}

macro_rules! promises {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod sqlite { $( #[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$module::$name(super::Bed::sqlite().await).await; } )* }
        mod postgres { $( #[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $name() { super::$module::$name(super::Bed::postgres().await).await; } )* }
    };
}

promises! {
    runs::a_run_is_read_back_whole,
    runs::starting_a_run_twice_is_a_duplicate,
    runs::an_update_replaces_everything_but_id_and_start,
    runs::updating_a_run_that_is_not_stored_fails,
    runs::the_load_of_a_run_begins_before_its_first_second,
    runs::a_summary_that_could_not_be_read_back_is_refused,
    runs::orphans_become_interrupted_at_the_end_of_their_last_second,
    runs::an_orphan_without_seconds_ended_when_it_was_found,
    runs::a_run_is_found_by_its_id_a_part_of_it_or_as_the_last,
    runs::runs_are_filtered_and_come_newest_first,
    runs::without_a_limit_fifty_runs_are_listed,
    runs::lists_show_of_each_run_what_it_shows_itself,
    series::intervals_survive_exactly,
    series::seconds_come_in_order_from_up_to,
    series::the_same_second_again_replaces_it,
    series::a_batch_with_an_unknown_run_changes_nothing,
    series::a_run_that_is_not_stored_has_no_seconds,
    series::histograms_of_both_forms_are_read,
    series::latencies_that_tell_the_same_are_stored_once,
    series::what_hardly_ever_happens_is_counted,
    series::seconds_add_up_whatever_their_numbers,
    series::more_seconds_than_fit_are_refused_not_cut,
    readings::readings_survive_exactly,
    readings::failed_readings_keep_their_reason,
    readings::readings_are_found_by_target_and_time,
    readings::readings_are_found_by_run,
    readings::of_a_metric_only_its_points_are_given,
    readings::the_same_moment_of_a_probe_again_replaces_it,
    readings::numbers_that_are_not_finite_are_left_out,
    readings::series_of_a_batch_that_failed_are_made_again,
    readings::more_readings_than_fit_are_shown_one_by_one,
    captures::what_was_captured_is_read_back_as_it_came,
    captures::a_capture_goes_with_its_run,
    journal::findings_of_the_same_method_are_replaced,
    journal::findings_come_newest_first,
    journal::findings_of_an_unknown_run_are_refused,
    journal::the_same_instant_of_a_schedule_again_replaces_it,
    journal::ticks_come_newest_first,
    journal::a_standstill_is_remembered_until_it_ends,
    journal::the_last_stop_is_remembered,
    alerts::an_alert_is_read_back_whole_replaced_and_forgotten,
    alerts::transitions_come_newest_first,
    alerts::a_decision_is_stored_whole_or_not_at_all,
    alerts::a_message_that_exists_is_left_as_it_is,
    alerts::only_due_messages_are_leased,
    alerts::a_leased_message_is_not_given_out_again_until_the_lease_ends,
    alerts::of_an_incident_and_channel_only_the_earliest_is_given_out,
    alerts::a_message_waits_for_its_next_attempt,
    alerts::settling_counts_attempts_and_ends_the_lease,
    alerts::a_message_that_is_done_stays_as_it_is,
    alerts::settling_an_unknown_message_fails,
    alerts::two_senders_never_get_the_same_message,
    alerts::messages_are_listed_by_state_newest_first,
    alerts::the_outbox_tells_how_much_waits,
    alerts::of_each_open_incident_the_last_message_that_arrived_is_known,
    telling::threads_are_replaced_and_forgotten_with_a_decision,
    telling::silences_are_kept_until_they_are_over,
    telling::each_channel_has_its_own_queue,
    telling::messages_become_one_or_stay_as_they_are,
    telling::what_was_posted_is_remembered_by_channel_and_incident,
    audit::how_a_channel_fares_is_replaced,
    audit::deeds_are_only_added_and_come_newest_first,
    rollups::percentiles_and_counts_of_roll_ups_are_those_of_the_seconds,
    rollups::a_run_that_goes_on_is_rolled_up_behind_it_and_answers_to_its_end,
    rollups::what_comes_late_is_rolled_up_again,
    rollups::readings_are_rolled_up_on_the_clock_of_their_run,
    rollups::readings_between_runs_are_rolled_up_by_minute_and_hour,
    rollups::two_that_roll_up_at_once_do_it_once,
    retention::each_resolution_goes_at_its_age_and_the_next_answers,
    retention::pinned_runs_stay_until_they_are_not,
    retention::seconds_that_no_roll_up_holds_are_not_deleted,
    retention::readings_between_runs_go_by_whole_days,
    retention::records_go_when_nothing_needs_them_any_more,
    portable::an_import_is_whole_or_not_at_all,
    portable::an_export_without_headlines_is_read,
    owners::a_process_is_enlisted_until_it_resigns,
    owners::only_runs_of_processes_that_are_gone_are_orphans,
    owners::who_shows_life_is_not_dismissed,
    owners::one_process_has_a_lease_until_it_is_gone,
    owners::of_many_that_want_a_lease_one_gets_it,
    owners::a_lease_is_given_back_by_its_holder_only,
    owners::what_a_process_has_going_on_is_told,
    owners::an_instant_starts_one_run,
    owners::messages_of_a_process_that_is_gone_are_free_at_once,
    owners::who_is_not_in_charge_decides_nothing,
    owners::who_is_not_in_charge_starts_nothing,
    owners::a_lease_is_prolonged_only_by_who_has_it,
    owners::a_clock_that_goes_back_frees_and_loses_nothing,
    life::a_ping_writes,
    life::what_was_acknowledged_survives_without_a_close,
    life::a_closed_store_refuses,
    life::a_newer_schema_is_refused,
    life::damaged_rows_are_named,
    life::texts_survive_whatever_they_hold,
    life::a_lock_held_too_long_is_busy,
}
