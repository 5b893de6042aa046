//! h2o and nginx.

const BROKEN: &str = "nonsense: [\n";

mod h2o {
    use crate::harness::{Fate, Server, Slow, State, tests_of};

    const H2O: Server = Server {
        name: "h2o",
        needs: "command -v h2o",
        slow: Slow::Reader,
        loses: false,
        broken: ("h2o.conf", super::BROKEN),
    };

    tests_of!(H2O);

    #[test]
    fn drain_answers_a_new_connection() {
        let fate = H2O.drained_alone(State::New);
        assert!(matches!(fate, None | Some(Fate::Answered)), "{fate:?}");
    }
}

mod nginx {
    use crate::harness::{Fate, Server, Slow, State, tests_of};

    const NGINX: Server = Server {
        name: "nginx",
        needs: "command -v nginx && command -v perl",
        slow: Slow::Reader,
        loses: false,
        broken: ("nginx.conf", super::BROKEN),
    };

    tests_of!(NGINX);

    #[test]
    fn drain_answers_a_new_connection_and_closes_an_idle_one() {
        for (state, expected) in [(State::New, Fate::Answered), (State::Idle, Fate::Closed)] {
            let fate = NGINX.drained_alone(state);
            assert!(
                fate.is_none_or(|fate| fate == expected),
                "{state:?}: {fate:?}"
            );
        }
    }
}
