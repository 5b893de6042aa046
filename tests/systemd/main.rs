//! `start_server` under systemd 252, 254 and 257, each of which is process 1 of namespaces of its own.
//!
//! ```sh
//! tests/systemd/run             # as root: boots systemd, runs these tests, shuts systemd down
//! tests/systemd/run v257::      # on one version only
//! ```
//!
//! A plain `cargo test` skips them. `lab/` has the scripts that boot systemd; `harness/` has the machine, its services and
//! their clients. Most tests share the three machines, so each has unit names and ports of its own.
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
mod user_units;

/// Declares a test for each function and each version of systemd. Tests after the bar have a machine of their own.
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
            v254: $($module::$test)* reload::notify_reload_works_with_a_client reload::notify_reload_works_without_a_client
                | $($own_module::$own)*;
            v257: $($module::$test)* reload::notify_reload_works_with_a_client reload::notify_reload_works_without_a_client
                    control::varlinkctl_can_call_the_control_socket
                    activation::sockets_and_watchdog_work_in_a_pid_namespace
                | $($own_module::$own)*;
        }
    };
}

on_all! {
    activation::first_connection_starts_the_service
    activation::tcp_udp_and_unix_sockets_of_one_unit_are_served
    activation::sockets_are_chosen_by_name
    activation::socket_on_standard_input_is_served
    activation_kinds::every_kind_of_socket_reaches_the_worker
    activation_kinds::sockets_of_two_units_with_one_name_reach_the_worker
    notify_access::worker_cannot_notify_for_the_unit
    generated_units::generated_units_are_valid_hardened_and_serve
    generated_units::socket_below_run_outlives_the_service
    journal::entries_are_found_by_their_fields
    journal::catalog_explains_an_entry
    journal::plain_lines_are_logged_with_the_option
    readiness::reload_waits_for_ready
    readiness::reload_without_ready_fails_with_the_reason
    readiness::worker_can_extend_the_start_timeout_of_the_unit
    reload::reload_waits_for_the_new_generation
    reload::failed_reload_is_reported_and_the_old_generation_serves
    shipped_units::shipped_units_are_valid_and_hardened
    shipped_units::template_unit_serves
    shipped_units::example_unit_serves
    store::restart_refuses_no_connection
    store::killed_supervisor_refuses_no_connection
    store::socket_of_a_removed_option_is_closed
    store::unix_socket_keeps_its_file
    store::too_small_store_is_a_warning
    supervision::watchdog_restarts_a_stopped_supervisor
    supervision::start_may_take_longer_than_its_timeout
    supervision::stop_answers_requests_under_way
    supervision::delegated_cgroup_is_killed_with_its_generation
    upgrade::upgrade_is_invisible_to_systemd
    upgrade::supervisor_killed_during_an_upgrade_comes_back_with_its_sockets
    |
    dead_journal::journal_that_does_not_read_blocks_nothing
    dead_journal::lines_go_to_standard_error_without_a_journal
    packages::package_is_installed_upgraded_and_purged
    packages::package_coexists_with_perls
    user_units::generated_units_serve_under_a_users_manager
}
