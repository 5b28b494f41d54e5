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
        reads::the_head_counts_changes_and_its_digest_is_that_of_the_files,
        reads::changes_come_in_order_with_tombstones,
        reads::a_page_never_splits_a_revision,
        reads::a_page_ends_past_a_megabyte,
        reads::from_zero_is_everything_and_above_the_head_is_a_reset,
        reads::one_version_of_one_file,
        reads::the_older_listing_is_paged,
        writes::a_save_gives_the_new_row,
        writes::equal_content_takes_no_revision,
        writes::a_stale_version_is_a_conflict,
        writes::a_delete_leaves_a_tombstone_and_versions_go_on,
        writes::binary_content_lies_in_storage,
        writes::five_megabytes_are_saved_and_read_back,
        writes::flags_are_booleans,
        bulk::a_bulk_saves_deletes_and_renames_in_one_revision,
        bulk::one_bad_entry_refuses_all_and_is_named,
        bulk::a_bulk_has_one_to_ten_thousand_entries,
        bulk::many_are_deleted_at_once,
        refusals::evil_paths_are_refused_everywhere,
        refusals::what_is_no_text_is_refused,
        refusals::what_is_no_call_is_refused,
        rights::each_function_is_for_those_it_is_for,
        rights::a_project_that_is_not_there,
        rights::a_token_must_be_signed_alive_and_say_who,
        rights::too_many_writes_are_told_when_to_come_back,
        events::each_write_is_one_event,
        events::what_is_refused_or_changes_nothing_is_no_event,
        events::what_is_too_large_is_left_out,
        events::who_may_join,
        events::who_may_send,
        events::rows_are_nudges,
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
