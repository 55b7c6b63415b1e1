//! What every store does, whatever database it is made on: one suite, run on each of them.

mod cluster;
mod copying;
mod driving;
mod filled;
mod gone;
mod history;
mod hold;
mod marks;
mod models;
mod naive;
mod plans;
mod postgres;
mod questions;
mod random;
mod searching;
mod slots;
mod sql;
mod sqlite;
mod world;

/// All cases of the suite, each as a test that `$run` gives a fresh store.
#[macro_export]
macro_rules! suite {
    ($run:path) => {
        $crate::suite! { $run:
            driving::a_new_run_stands_as_it_was_told,
            driving::ids_and_names_are_unique,
            driving::attempts_leave_rows_and_events,
            driving::a_whole_life_in_one_batch,
            driving::a_stage_is_tried_again,
            driving::a_stale_token_publishes_nothing,
            driving::what_does_not_fit_is_refused_whole,
            driving::a_lease_is_held_by_one_engine,
            driving::a_dead_engine_leaves_an_interrupted_run,
            driving::a_dead_engine_leaves_no_list_under_way,
            driving::a_run_is_taken_up,
            driving::a_run_that_ended_can_be_taken_up,
            driving::a_stage_that_succeeded_is_done_again,
            driving::a_list_brings_instances,
            driving::a_cancel_reaches_the_engine,
            driving::fingerprints_find_the_newest_success,
            driving::source_stamps_are_replaced,
            driving::many_writers_wait_for_each_other,
            history::runs_are_found_by_prefix,
            history::runs_are_listed_newest_first,
            history::metrics_keep_every_bit,
            history::the_latest_point_has_the_highest_step,
            history::a_long_series_is_read_whole,
            history::points_are_sealed_unseen,
            history::a_curve_has_few_points,
            history::cached_stages_show_their_origin,
            history::parts_are_kept_with_the_stage,
            history::events_are_read_from_where_one_left_off,
            history::odd_texts_survive,
            history::lists_show_the_metrics_that_count,
            gone::runs_are_told_oldest_first,
            gone::purged_runs_leave_nothing,
            gone::a_run_from_which_a_model_came_stays,
            gone::what_runs_shared_goes_with_the_last_of_them,
            gone::a_run_of_which_another_took_outputs_stays,
            gone::what_is_referenced_is_told_in_pages,
            copying::dumps_go_there_and_back,
            copying::many_runs_are_dumped_as_each_alone,
            copying::a_run_that_came_further_takes_its_place,
            copying::wrong_dumps_are_refused_whole,
            copying::models_are_joined,
            copying::a_store_is_copied_and_gone_on_with,
            marks::marks_are_set_and_taken_away,
            marks::marks_are_all_or_nothing,
            marks::runs_are_found_by_name,
            models::versions_count_up,
            models::aliases_move,
            models::stages_register_models,
            models::stages_report_params,
            questions::a_stage_is_followed_through_its_runs,
            questions::instances_are_followed_together,
            questions::artifacts_are_followed_to_makers_and_readers,
            sql::sealed_points_are_rows,
            sql::views_have_their_columns,
            sql::an_export_of_many_runs_is_whole,
            sql::views_say_what_was_recorded,
            sql::marks_are_seen_and_deleted_runs_are_not,
            sql::times_are_texts_that_sort,
            sql::questions_are_sql_in_full,
            sql::nothing_but_a_query_is_executed,
            sql::an_endless_question_ends,
            sql::long_cells_are_cut,
            sql::errors_have_a_place_and_a_mend,
            sql::a_question_can_be_explained,
            questions::sources_are_followed_to_their_readers,
            searching::filters_find_what_they_say,
            searching::pages_follow_each_other,
            searching::what_was_put_away_is_asked_for,
            searching::any_filter_finds_what_a_naive_reader_finds,
            random::any_life_of_a_run_keeps_the_books,
        }
    };
    ($run:path: $($module:ident::$case:ident,)*) => {
        $(
            #[test]
            fn $case() {
                $run(async |store| $crate::$module::$case(store).await);
            }
        )*
    };
}
