//! Short runs of the properties. `PROPTEST_CASES=100000 cargo test -p lock-fuzz` runs longer.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

/// Returns a configuration with this number of cases, or with that in `PROPTEST_CASES`.
fn cases(usual: u32) -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(usual);
    Config { failure_persistence: None, ..Config::with_cases(cases) }
}

fn steps() -> impl Strategy<Value = Vec<u8>> {
    let steps = vec(any::<[u8; 4]>(), 0..120);
    (any::<u8>(), steps).prop_map(|(capacity, steps)| [vec![capacity], steps.concat()].concat())
}

fn damage() -> impl Strategy<Value = Vec<u8>> {
    let recipes = vec(any::<[u8; 8]>(), 0..24);
    (64..=u8::MAX, recipes).prop_map(|(capacity, recipes)| [vec![capacity], recipes.concat()].concat())
}

fn file() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop_oneof![vec(any::<u8>(), 0..5000), vec(any::<u8>(), 0..500).prop_map(|rest| [b"LOCKTBL\n", &*rest].concat())];
    (0..64_u8, bytes).prop_map(|(pages, bytes)| [vec![pages], bytes].concat())
}

/// Returns texts in which the syntax of URLs is frequent.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a-z0-9:?&=%/.-]{0,40}",
        "(shm|file|posix-sem):([a-z/]|%[0-9a-f]{2}){0,12}(\\?(capacity|mode|x|%63apacity)=([0-9]{0,11}|unbounded|%3[0-9]))?(&(mode|x)=.{0,6}){0,2}",
        "[0-7]{0,5}",
        "[0-9]{0,12}",
    ]
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn any_text_is_refused_or_a_consistent_url(text in text()) {
        lock_fuzz::url(text.as_bytes());
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn any_file_is_refused_or_a_store_whose_operations_return(bytes in file()) {
        lock_fuzz::table(&bytes);
    }

    #[test]
    fn any_damaged_store_is_refused_or_its_operations_return(bytes in damage()) {
        lock_fuzz::table(&bytes);
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn any_sequence_of_operations_matches_the_model_on_every_backend(bytes in steps()) {
        for backend in &lock_fuzz::BACKENDS {
            lock_fuzz::sequence(backend, &bytes);
        }
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn any_ids_in_a_growing_store_match_a_set_on_every_backend(steps in vec(any::<[u8; 4]>(), 0..60)) {
        for backend in &lock_fuzz::BACKENDS {
            lock_fuzz::growing(backend, &steps.concat());
        }
    }
}
