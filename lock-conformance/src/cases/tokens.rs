//! Fencing tokens: the token of an acquisition is greater than all earlier ones of the lock.

use super::{Contenders, cases, cases_for_all};
use crate::fixture::Fixture;
use crate::process::LockRef;

cases_for_all! { "tokens";
    a_token_is_greater_than_all_before_it [TOKENS];
}

cases! { "tokens";
    a_token_grows_across_deaths [TOKENS PROCESSES RELEASED];
    a_token_grows_across_allocations [TOKENS NUMBERED PROCESSES];
    a_failed_attempt_does_not_set_it_back [TOKENS];
    a_store_made_later_has_greater_tokens [TOKENS STORE REMOVAL];
    a_token_is_0 [] unless TOKENS;
}

fn a_token_is_greater_than_all_before_it(fixture: &Fixture, contenders: Contenders) {
    let (a, b, lock) = contenders.start_two(fixture);
    let mut last = 0;
    for thread in [&a, &a, &b, &a, &b, &b, &a] {
        let token = thread.lock(lock).token;
        assert!(token > last, "the token {token} came after {last}");
        last = token;
        thread.unlock(lock);
    }
}

fn a_token_grows_across_deaths(fixture: &Fixture) {
    let last = fixture.peer();
    let lock = fixture.a_lock(&last);
    let mut before = 0;
    for _ in 0..4 {
        let owner = fixture.peer();
        let token = owner.lock(lock).token;
        assert!(token > before, "after a death the token {token} came after {before}");
        before = token;
        fixture.kill(&owner.process);
    }
    let token = last.lock(lock).token;
    assert!(token > before, "after a death the token {token} came after {before}");
}

fn a_token_grows_across_allocations(fixture: &Fixture) {
    let (a, b) = (fixture.peer(), fixture.peer());
    let id = a.allocate("");
    let mut before = 0;
    for thread in [&a, &b, &a] {
        let token = thread.finds_free(LockRef::Number(id), "no thread holds it").token;
        assert!(token > before, "after the id was allocated again, the token {token} came after {before}");
        before = token;
        thread.free(id);
        thread.must("take", &[&id.to_string(), ""]);
    }
}

fn a_failed_attempt_does_not_set_it_back(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    let before = a.lock(lock).token;
    for _ in 0..10 {
        b.finds_busy(lock, "another thread holds it");
    }
    a.unlock(lock);
    let token = b.lock(lock).token;
    assert!(token > before, "after failed attempts the token {token} came after {before}");
}

fn a_store_made_later_has_greater_tokens(fixture: &Fixture) {
    let mut before = 0;
    for _ in 0..3 {
        let a = fixture.blank_peer();
        a.must("open", &["create", &fixture.url()]);
        let lock = fixture.a_lock(&a);
        for acquisition in 0..3 {
            let token = a.finds_free(lock, "no thread holds it").token;
            assert!(
                token > before,
                "{}, the token {token} came after {before}",
                if acquisition == 0 { "in the store that replaced it" } else { "in one store" }
            );
            before = token;
        }
        a.must("destroy", &[]);
    }
}

fn a_token_is_0(fixture: &Fixture) {
    let (a, b, lock) = Contenders::Threads.start_two(fixture);
    for thread in [&a, &b] {
        let token = thread.finds_free(lock, "no thread holds it").token;
        assert_eq!(token, 0, "there is a token, although the backend does not claim tokens");
    }
}
