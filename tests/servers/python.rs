//! gunicorn, uvicorn and hypercorn.

const BROKEN: (&str, &str) = ("app.py", "raise RuntimeError('broken')\n");

mod gunicorn {
    use crate::harness::{Fate, Server, Slow, State, tests_of};

    const GUNICORN: Server = Server {
        name: "gunicorn",
        needs: "command -v gunicorn",
        slow: Slow::Server,
        loses: false,
        broken: super::BROKEN,
    };

    tests_of!(GUNICORN);

    #[test]
    fn drain_answers_a_new_connection() {
        let fate = GUNICORN.drained_alone(State::New);
        assert!(matches!(fate, None | Some(Fate::Answered)), "{fate:?}");
    }
}

mod uvicorn {
    use crate::harness::{Fate, Server, Slow, State, tests_of};

    const UVICORN: Server = Server {
        name: "uvicorn",
        needs: "python3 -c 'import uvicorn'",
        slow: Slow::Server,
        loses: true,
        broken: super::BROKEN,
    };

    tests_of!(UVICORN);

    #[test]
    fn drain_closes_connections_without_a_request() {
        for state in [State::New, State::Idle] {
            let fate = UVICORN.drained_alone(state);
            assert!(matches!(fate, None | Some(Fate::Closed)), "{fate:?}");
        }
    }
}

mod hypercorn {
    use crate::harness::{Fate, Server, Slow, State, tests_of};

    const HYPERCORN: Server = Server {
        name: "hypercorn",
        needs: "command -v hypercorn",
        slow: Slow::Server,
        loses: true,
        broken: super::BROKEN,
    };

    tests_of!(HYPERCORN);

    #[test]
    fn drain_closes_connections_without_a_request() {
        for state in [State::New, State::Idle] {
            let fate = HYPERCORN.drained_alone(state);
            assert!(matches!(fate, None | Some(Fate::Closed)), "{fate:?}");
        }
    }
}
