//! One suite for every database behind the contract's sections 4 and 5: every function, every code of an error, every
//! event and the list of bad input, over HTTP and websocket against a base URL. What each case is answered is recorded,
//! ids, times and digests made equal, and the records of both local stores must be the same.
//!
//! Against a Supabase project that has `supabase/migrations` (never run by `tests/run`):
//!
//! ```sh
//! CONFORMANCE_URL=https://….supabase.co CONFORMANCE_ANON_KEY=… CONFORMANCE_JWT_SECRET=… \
//! CONFORMANCE_PROJECT_ID=… CONFORMANCE_OWNER_ID=… \
//!   cargo test --workspace --test backend -- --ignored a_hosted_project
//! ```
//!
//! The secret is the legacy HS256 one, with which every token is minted. The project must exist and belong to that owner;
//! the suite leaves some ten thousand small files' history in it. (`--workspace`: alone this crate's client has no TLS.)
#![allow(clippy::disallowed_methods, reason = "a test starts programs and reads its own environment")]

mod bulk;
mod channel;
mod channels;
mod events;
mod reads;
mod refusals;
mod rights;
mod target;
mod transcript;
mod writes;

use local_backend::testing::PostgresServer;
use target::{Suite, Target};

/// Runs cases one after another, since they share the project's line of revisions; one that fails does not stop the rest.
macro_rules! run_cases {
    ($target:expr, $($case:path),+ $(,)?) => {{
        let (suite, mut failed) = (Suite::from($target), Vec::new());
        $(
            let scene = suite.scene(stringify!($case)).await;
            if let Err(error) = tokio::spawn($case(scene)).await {
                failed.push(format!("{}: {error}", stringify!($case)));
            }
        )+
        match failed.is_empty() {
            true => Ok(suite.into_lines()),
            false => Err(format!("{} cases failed:\n{}", failed.len(), failed.join("\n"))),
        }
    }};
}

/// What was recorded; of cases that failed their names, and why.
async fn suite(target: Target) -> Result<Vec<String>, String> {
    run_cases!(
        target,
        reads::the_head_has_the_digest_of_the_live_files,
        reads::changes_come_in_order_with_tombstones,
        reads::a_page_never_splits_a_revision,
        reads::a_page_ends_after_a_megabyte,
        reads::from_zero_is_everything_and_above_the_head_is_a_reset,
        reads::one_version_of_one_file,
        reads::the_legacy_listing_is_paged,
        writes::a_save_gives_the_new_row,
        writes::equal_content_takes_no_revision,
        writes::a_stale_version_is_a_conflict,
        writes::a_delete_leaves_a_tombstone_and_versions_go_on,
        writes::binary_content_is_in_storage,
        writes::five_megabytes_are_saved_and_read_back,
        writes::flags_are_booleans,
        bulk::a_bulk_saves_deletes_and_renames_in_one_revision,
        bulk::one_invalid_entry_refuses_the_bulk_and_is_named,
        bulk::a_bulk_has_one_to_ten_thousand_entries,
        bulk::a_bulk_deletes_many_files,
        refusals::invalid_paths_are_refused_by_every_write,
        refusals::a_file_type_has_at_most_255_bytes,
        refusals::content_that_is_not_text_is_refused,
        refusals::malformed_calls_are_refused,
        rights::each_function_refuses_callers_without_the_right,
        rights::an_unknown_project_looks_like_another_users,
        rights::a_token_must_be_signed_valid_and_name_the_caller,
        rights::the_rate_limit_tells_when_to_try_again,
        events::each_write_is_one_event,
        events::refused_and_unchanged_writes_have_no_event,
        events::content_above_150000_bytes_is_omitted,
        events::content_too_large_for_an_event_is_omitted,
        events::who_may_join,
        events::who_may_send,
        channels::a_topic_that_was_not_joined_is_unmatched,
        channels::a_join_without_config_is_public,
        channels::a_config_of_a_wrong_type_is_refused,
        channels::presence_without_the_right_is_an_error,
        channels::refusals_have_the_texts_of_the_real_server,
        events::subscribers_get_inserted_rows,
    )
}

#[tokio::test]
async fn both_local_stores() {
    let server = PostgresServer::start().expect("PostgreSQL starts");
    let (memory, postgres) = (Target::in_memory().await, Target::postgres(&server).await);
    let (memory, postgres) = tokio::join!(suite(memory), suite(postgres));
    let (memory, postgres) = (memory.expect("the store in memory"), postgres.expect("PostgreSQL"));
    println!("{} answers and events recorded", memory.len());
    if let Some(difference) = transcript::difference(&memory, &postgres) {
        panic!("- in memory\n+ PostgreSQL\n{difference}");
    }
}

#[tokio::test]
#[ignore = "needs a Supabase project, see above"]
async fn a_hosted_project() {
    suite(Target::hosted()).await.expect("the project conforms");
}
