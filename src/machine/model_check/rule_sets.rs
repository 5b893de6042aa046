//! The rules under which the machine is checked. Each set is a test.

use std::sync::OnceLock;

use super::*;

/// How many events in a row are tried.
const DEPTH: usize = 10;

/// Notifications, and clients' requests, multiply the orders: fewer events make as many states.
const SMALLER_DEPTH: usize = 8;

/// Adopted workers multiply them even more.
const DEPTH_OF_TAKEOVER: usize = 7;

/// The least number of states for a walk to be worth it.
const ENOUGH: usize = 10_000;

/// Rules, how far to walk under them, and where that has led.
pub(super) struct RuleSet {
    name: &'static str,
    rules: fn() -> Rules,
    requests: u64,
    takeover: bool,
    depth: usize,
    walk: OnceLock<Walk>,
}

impl RuleSet {
    const fn new(name: &'static str, depth: usize, rules: fn() -> Rules) -> RuleSet {
        RuleSet {
            name,
            rules,
            requests: 0,
            takeover: false,
            depth,
            walk: OnceLock::new(),
        }
    }

    /// With this many clients' requests among the events.
    const fn requests(mut self, requests: u64) -> RuleSet {
        self.requests = requests;
        self
    }

    /// With the workers of a supervisor that was killed.
    const fn takeover(mut self) -> RuleSet {
        self.takeover = true;
        self
    }

    /// Walks once, for all tests.
    pub(super) fn walk(&self) -> &Walk {
        self.walk.get_or_init(|| {
            let first = match self.takeover {
                true => Node::takeover((self.rules)(), self.requests),
                false => Node::first((self.rules)(), self.requests),
            };
            let walk = Walk::from(first, self.depth);
            let (name, depth, states) = (self.name, self.depth, walk.states);
            println!("{name}: {states} states in all orders of up to {depth} events");
            walk
        })
    }

    fn check(&self) {
        assert!(self.walk().states > ENOUGH, "{}", self.name);
    }
}

/// All rule sets, the longest walks first.
pub(super) static ALL: [&RuleSet; 14] = [
    &REQUESTS_AND_DELAY,
    &EVERYTHING,
    &REQUESTS_AND_CHECK,
    &NOTIFY_AND_DELAY,
    &TAKEOVER,
    &TAKEOVER_BY_NOTIFICATION,
    &NOTIFY,
    &CHECK_AND_WATCHDOG,
    &REQUESTS,
    &PLAIN,
    &DELAY,
    &ATTEMPTS,
    &AUTO,
    &WATCHDOG,
];

static PLAIN: RuleSet = RuleSet::new("plain", DEPTH, rules);

#[test]
fn invariants_hold_under_plain_rules() {
    PLAIN.check();
}

static DELAY: RuleSet = RuleSet::new("delay", DEPTH, || Rules {
    live_settings: LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(3),
    },
    ..rules()
});

#[test]
fn invariants_hold_with_a_kill_old_delay() {
    DELAY.check();
}

static ATTEMPTS: RuleSet = RuleSet::new("attempts", DEPTH, || Rules {
    start_attempts: 2,
    first_start_attempts: 1,
    ..rules()
});

#[test]
fn invariants_hold_with_a_limit_of_attempts() {
    ATTEMPTS.check();
}

static AUTO: RuleSet = RuleSet::new("auto", SMALLER_DEPTH, || Rules {
    readiness: Readiness::Auto,
    ..rules()
});

#[test]
fn invariants_hold_with_readiness_by_notification_or_by_living() {
    AUTO.check();
}

static NOTIFY: RuleSet = RuleSet::new("notify", SMALLER_DEPTH, || Rules {
    readiness: Readiness::Notify,
    start_attempts: 2,
    stop_timeout: Some(secs(2)),
    ..rules()
});

#[test]
fn invariants_hold_with_readiness_by_notification_alone() {
    NOTIFY.check();
}

static NOTIFY_AND_DELAY: RuleSet = RuleSet::new("notify, delay", SMALLER_DEPTH, || Rules {
    readiness: Readiness::Notify,
    live_settings: LiveSettings {
        auto_restart: Some(secs(9)),
        kill_old_delay: secs(3),
    },
    ..rules()
});

#[test]
fn invariants_hold_with_readiness_by_notification_and_a_kill_old_delay() {
    NOTIFY_AND_DELAY.check();
}

static WATCHDOG: RuleSet = RuleSet::new("watchdog", SMALLER_DEPTH, || Rules {
    worker_watchdog: Some(secs(4)),
    live_settings: LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(6),
    },
    ..rules()
});

#[test]
fn invariants_hold_with_a_watchdog() {
    WATCHDOG.check();
}

static REQUESTS: RuleSet = RuleSet::new("requests", SMALLER_DEPTH, || Rules {
    start_attempts: 2,
    first_start_attempts: 1,
    ..rules()
})
.requests(2);

#[test]
fn invariants_hold_with_requests() {
    REQUESTS.check();
}

static REQUESTS_AND_DELAY: RuleSet = RuleSet::new("requests, delay", SMALLER_DEPTH, || Rules {
    readiness: Readiness::Notify,
    start_attempts: 1,
    live_settings: LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(3),
    },
    ..rules()
})
.requests(2);

#[test]
fn invariants_hold_with_requests_and_a_kill_old_delay() {
    REQUESTS_AND_DELAY.check();
}

static REQUESTS_AND_CHECK: RuleSet = RuleSet::new("requests, check", SMALLER_DEPTH, || Rules {
    check: Some(secs(4)),
    interval: Duration::ZERO,
    start_attempts: 2,
    live_settings: LiveSettings {
        auto_restart: Some(secs(9)),
        kill_old_delay: Duration::ZERO,
    },
    ..rules()
})
.requests(2);

#[test]
fn invariants_hold_with_requests_and_a_check_before_each_reload() {
    REQUESTS_AND_CHECK.check();
}

static CHECK_AND_WATCHDOG: RuleSet = RuleSet::new("check, watchdog", SMALLER_DEPTH, || Rules {
    readiness: Readiness::Notify,
    check: Some(secs(4)),
    worker_watchdog: Some(secs(4)),
    start_attempts: 2,
    live_settings: LiveSettings {
        auto_restart: None,
        kill_old_delay: secs(3),
    },
    ..rules()
});

#[test]
fn invariants_hold_with_a_check_and_a_watchdog() {
    CHECK_AND_WATCHDOG.check();
}

static EVERYTHING: RuleSet = RuleSet::new("everything", DEPTH, || Rules {
    interval: Duration::ZERO,
    start_attempts: 2,
    stop_timeout: Some(secs(2)),
    live_settings: LiveSettings {
        auto_restart: Some(secs(9)),
        kill_old_delay: secs(3),
    },
    ..rules()
});

#[test]
fn invariants_hold_with_limits_and_timeouts_at_once() {
    EVERYTHING.check();
}

static TAKEOVER: RuleSet = RuleSet::new("takeover", DEPTH_OF_TAKEOVER, || Rules {
    start_attempts: 2,
    first_start_attempts: 2,
    stop_timeout: Some(secs(2)),
    ..rules()
})
.requests(1)
.takeover();

#[test]
fn invariants_hold_with_adopted_workers() {
    TAKEOVER.check();
}

static TAKEOVER_BY_NOTIFICATION: RuleSet =
    RuleSet::new("takeover, notify", DEPTH_OF_TAKEOVER, || Rules {
        readiness: Readiness::Notify,
        first_start_attempts: 1,
        worker_watchdog: Some(secs(4)),
        live_settings: LiveSettings {
            auto_restart: Some(secs(9)),
            kill_old_delay: secs(3),
        },
        ..rules()
    })
    .takeover();

#[test]
fn invariants_hold_with_adopted_workers_a_kill_old_delay_and_a_watchdog() {
    TAKEOVER_BY_NOTIFICATION.check();
}

fn rules() -> Rules {
    Rules {
        interval: secs(1),
        readiness: Readiness::Alive,
        start_timeout: secs(5),
        worker_watchdog: None,
        // The signals differ, so that the invariants can tell a reload from a stop.
        signal_on_hup: Signal::TERM,
        signal_on_term: Signal::QUIT,
        start_attempts: 0,
        first_start_attempts: 0,
        check: None,
        stop_timeout: None,
        live_settings: LiveSettings {
            auto_restart: None,
            kill_old_delay: Duration::ZERO,
        },
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
