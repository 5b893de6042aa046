//! `--signal-on-hup`, and the spelling of signals. For unknown signals see `bad_input`.

use server_starter_testing::workers::SLEEPS;

use crate::fixtures::start;

/// Ignores TERM; exits 3 at USR1.
const LEAVES_AT_USR1: &str = "trap '' TERM; trap 'exit 3' USR1; up; rest";

#[track_caller]
fn sends(option: &str, name: Option<&str>) {
    let s = start(
        &["--signal-on-term=KILL", "--signal-on-hup", option],
        LEAVES_AT_USR1,
    );
    let first = s.wait_generation(1);
    s.hup();
    if let Some(name) = name {
        s.wait_line(&format!(
            "new worker is now running, sending {name} to old workers:{first}"
        ));
    }
    s.wait_line(&format!("old worker {first} died, status:768"));
    s.wait_generation(2);
    s.term();
    assert_eq!(s.wait_exit().code(), Some(0));
}

#[test]
fn signal_on_hup_goes_to_the_old_workers() {
    sends("USR1", Some("USR1"));
}

#[test]
fn signal_name_may_have_its_prefix() {
    sends("SIGUSR1", Some("USR1"));
}

#[test]
fn signal_name_may_be_in_lower_case() {
    sends("usr1", Some("USR1"));
    sends("sigusr1", Some("USR1"));
}

#[test]
fn signal_may_be_a_number() {
    sends("10", None);
}

#[test]
fn signal_on_hup_is_not_used_to_stop() {
    let s = start(&["--signal-on-hup=USR1"], SLEEPS);
    let worker = s.wait_generation(1);
    s.term();
    s.wait_line(&format!(
        "received TERM, sending TERM to all workers:{worker}"
    ));
    s.wait_line(&format!("worker {worker} died, status:15"));
    s.expect_exit(0);
}

mod extensions {
    use server_starter_testing::workers::SLEEPS;

    use crate::fixtures::start;

    #[test]
    fn signal_number_is_logged_by_its_name() {
        super::sends("10", Some("USR1"));
        let s = start(&["--signal-on-term=15"], SLEEPS);
        let worker = s.wait_generation(1);
        s.term();
        s.wait_line(&format!(
            "received TERM, sending TERM to all workers:{worker}"
        ));
        s.expect_exit(0);
    }

    #[test]
    fn all_signals_are_logged_by_their_names() {
        for name in ["HUP", "INT", "QUIT", "USR2", "WINCH"] {
            let s = start(&["--signal-on-term=KILL", "--signal-on-hup", name], SLEEPS);
            let first = s.wait_generation(1);
            s.hup();
            s.wait_line(&format!(
                "new worker is now running, sending {name} to old workers:{first}"
            ));
            s.wait_up(2);
            s.stop();
        }
    }
}
