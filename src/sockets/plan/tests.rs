//! Which socket an option gets, and on which number.

use super::*;
use crate::sockets::endpoint::Endpoint;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

fn ports(specs: &[&str]) -> Vec<PortSpec> {
    specs.iter().map(|s| s.parse().unwrap()).collect()
}

fn plan(specs: &[&str], inherited: Vec<Inherited>) -> Result<Plan, Error> {
    Plan::make(&ports(specs), &[], inherited, |name| name == "stale")
}

/// A socket on the loopback address, and its port.
fn inherited(name: &str) -> (Inherited, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let fd = OwnedFd::from(listener);
    let endpoint = Endpoint::of(&fd).unwrap();
    (
        Inherited {
            fd,
            name: name.into(),
            endpoint,
        },
        port,
    )
}

fn keys(plan: &Plan) -> Vec<String> {
    let key = |planned: &Planned| match &planned.source {
        Source::Bind(spec, _) => format!("bind {spec}"),
        Source::BindPath(spec) => format!("bind {}", spec.as_path().display()),
        Source::Taken { key, .. } | Source::Inherited { key, .. } => {
            key.to_string_lossy().into_owned()
        }
    };
    plan.list.iter().map(key).collect()
}

#[test]
fn numbers_are_the_lowest_that_no_option_asks_for() {
    let numbers = |specs: &[&str]| plan(specs, vec![]).unwrap().numbers();
    assert_eq!(numbers(&["80", "81"]), [3, 4]);
    assert_eq!(numbers(&["80", "81=3", "82", "83=0"]), [4, 3, 5, 0]);
    assert_eq!(plan(&[], vec![]).unwrap().min_fd(), 3);
    assert_eq!(plan(&["80", "81=9"], vec![]).unwrap().min_fd(), 10);
}

#[test]
fn conflicts_are_refused_before_anything_is_bound() {
    let conflict = |specs: &[&str]| plan(specs, vec![]).err().map(|e| e.to_string());
    assert_eq!(
        conflict(&["80", "81", "u80", "127.0.0.1:80", "0", "0"]),
        None
    );
    assert!(
        conflict(&["80=5", "81=5"])
            .unwrap()
            .contains("descriptor 5")
    );
    assert!(conflict(&["80", "80=7"]).unwrap().contains("twice"));
}

#[test]
fn spec_takes_the_inherited_socket_at_its_address() {
    let ((one, port), (other, other_port)) = (inherited("one"), inherited("two"));
    let spec = format!("127.0.0.1:{port}");
    let plan = plan(&["127.0.0.1:1", &spec], vec![other, one]).unwrap();
    let other = format!("127.0.0.1:{other_port}");
    assert_eq!(keys(&plan), ["bind 127.0.0.1:1", &spec, &other]);
    for (planned, number) in plan.list.iter().zip(plan.numbers()) {
        if let Source::Inherited { socket, .. } = &planned.source {
            let at = socket.fd.as_raw_fd();
            assert!(
                at == number || at >= plan.min_fd(),
                "{at} is a number of another socket"
            );
        }
    }
}

#[test]
fn inherited_socket_for_both_families_serves_two_options() {
    let Ok(listener) = TcpListener::bind("[::]:0") else {
        return eprintln!("SKIPPED: no IPv6 here");
    };
    let port = listener.local_addr().unwrap().port();
    let socket = || {
        let fd = OwnedFd::from(listener.try_clone().unwrap());
        Inherited {
            endpoint: Endpoint::of(&fd).unwrap(),
            name: "web.socket".into(),
            fd,
        }
    };
    let (v4, v6) = (format!("{port}"), format!("[::]:{port}"));
    let both = plan(&[&v4, &v6], vec![socket()]).unwrap();
    assert_eq!((keys(&both), both.numbers()), (vec![v4.clone()], vec![3]));
    let both = plan(&[&v6, &format!("{v4}=7")], vec![socket()]).unwrap();
    assert_eq!((keys(&both), both.numbers()), (vec![v6.clone()], vec![7]));
    let numbers = [format!("{v4}=5"), format!("{v6}=6")];
    let error = plan(&[&numbers[0], &numbers[1]], vec![socket()])
        .err()
        .unwrap();
    assert!(error.to_string().contains("both descriptors"), "{error}");
    let error = plan(&[&format!("127.0.0.1:{port}")], vec![socket()]);
    let error = error.err().unwrap().to_string();
    assert!(
        error.contains("web.socket") && error.contains("ListenStream="),
        "{error}"
    );
}

#[test]
fn two_names_of_one_address_are_refused() {
    let error = plan(&["localhost:80", "127.0.0.1:80"], vec![])
        .err()
        .unwrap();
    assert!(error.to_string().contains("same address"), "{error}");
    assert!(plan(&["localhost:80", "127.0.0.1:u80"], vec![]).is_ok());
}

#[test]
fn spec_may_name_an_inherited_socket() {
    let ((a, port_a), (b, port_b), (c, port_c)) =
        (inherited("web"), inherited("admin"), inherited("web"));
    let plan = plan(&["fd:web"], vec![b, a, c]).unwrap();
    let keys_wanted = [port_a, port_c, port_b].map(|port| format!("127.0.0.1:{port}"));
    assert_eq!(keys(&plan), keys_wanted);
}

#[test]
fn unknown_name_is_refused_with_the_known_ones() {
    let error = plan(&["fd:web"], vec![inherited("admin").0])
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("fd:web") && error.contains("admin"),
        "{error}"
    );
}

#[test]
fn stored_socket_that_no_option_asks_for_is_stale() {
    let ((kept, port), (stale, _)) = (inherited("stale"), inherited("stale"));
    let plan = plan(&[&format!("127.0.0.1:{port}")], vec![stale, kept]).unwrap();
    assert_eq!(keys(&plan), [format!("127.0.0.1:{port}")]);
    assert_eq!(plan.stale(), ["stale"]);
}
