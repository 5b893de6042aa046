//! `start_server` under real systemds: 252, 254 and 257, each process 1 of namespaces of its own.
//!
//! ```sh
//! tests/systemd/run             # as root: boots them, runs these tests, takes them down
//! tests/systemd/run v257::      # on one of them only
//! ```
//!
//! A plain `cargo test` finds none booted, and says so. `lab/` has the scripts that boot them;
//! `harness/` is what tests are written with. Most tests share the three machines, so each has its
//! own names of units and its own ports. As in the black-box tests nothing waits for luck: every
//! wait is for an event, with a bound far above what it takes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

mod activation;
mod activation_kinds;
mod control;
mod dead_journal;
mod generated_units;
mod journal;
mod notify_access;
mod packages;
mod readiness;
mod reload;
mod shipped_units;
mod store;
mod supervision;
mod upgrade;

/// Makes a test of each function for each version of systemd; those after the bar have a machine of
/// their own.
macro_rules! on_each {
    ($($versions:ident: $($module:ident::$test:ident)* | $($own_module:ident::$own:ident)*;)*) => {
        $(mod $versions {
            $(#[test]
            fn $test() {
                crate::harness::on(stringify!($versions), crate::$module::$test);
            })*
            $(#[test]
            fn $own() {
                let (version, name) = (stringify!($versions), stringify!($own));
                crate::harness::on_own(version, name, crate::$own_module::$own);
            })*
        })*
    };
}

macro_rules! on_all {
    ($($module:ident::$test:ident)* | $($own_module:ident::$own:ident)*) => {
        on_each! {
            v252: $($module::$test)*
                | $($own_module::$own)*;
            v254: $($module::$test)* reload::notify_reload_with_a_client reload::notify_reload_alone
                | $($own_module::$own)*;
            v257: $($module::$test)* reload::notify_reload_with_a_client reload::notify_reload_alone
                    control::varlinkctl_is_a_client
                    activation::sockets_and_watchdog_work_in_a_pid_namespace
                | $($own_module::$own)*;
        }
    };
}

on_all! {
    activation::the_first_connection_starts_the_service
    activation::tcp_udp_and_unix_sockets_of_one_unit
    activation::sockets_are_picked_by_name
    activation::the_socket_on_standard_input
    activation_kinds::every_kind_of_socket
    activation_kinds::two_units_with_one_name
    notify_access::a_worker_cannot_speak_for_the_unit
    generated_units::they_are_clean_hardened_and_serve
    journal::entries_are_found_by_their_fields
    journal::the_catalog_explains
    journal::plain_lines_if_asked_for
    readiness::a_reload_takes_as_long_as_the_word
    readiness::a_reload_without_the_word_fails_and_says_why
    readiness::a_worker_may_ask_for_more_time_than_the_unit_has
    reload::reload_waits_for_the_new_generation
    reload::a_failed_reload_says_so_and_costs_nothing
    shipped_units::they_are_clean_and_hardened
    shipped_units::the_template_serves
    shipped_units::the_example_serves
    store::restart_refuses_nobody
    store::a_killed_supervisor_refuses_nobody
    store::what_is_not_wanted_any_more_is_closed
    store::a_unix_socket_keeps_its_file
    store::too_small_a_store_is_a_warning
    supervision::the_watchdog_notices_a_stopped_supervisor
    supervision::a_start_may_take_longer_than_its_time_out
    supervision::stop_answers_what_is_under_way
    upgrade::systemd_sees_nothing_of_it
    upgrade::killed_in_the_middle_it_comes_back_with_its_sockets
    |
    dead_journal::one_that_does_not_read_holds_nobody_up
    dead_journal::without_one_lines_go_to_standard_error
    packages::installed_used_upgraded_and_purged
    packages::beside_perls
}
