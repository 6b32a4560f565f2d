//! The checks of this crate as tests. `cargo xtask weak` runs them under Miri.

macro_rules! tests {
    ($($module:ident: $($name:ident)+;)+) => {
        $($(
            #[test]
            fn $name() {
                lock_weak::checks::$module::$name();
            }
        )+)+
    };
}

tests! {
    locking: two_at_home three_of_different_kinds two_foreign threads_and_processes a_death_at_home a_foreign_death an_end_of_a_foreign_thread a_panic
        attempts_that_do_not_wait_long;
    allocating: an_id_belongs_to_one_allocation an_allocation_is_read_whole_or_not_at_all;
}
