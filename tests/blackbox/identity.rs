//! Workers of another user, `--user` and `--group`.

mod extensions {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use nix::unistd::{Gid, User, getgrouplist};
    use server_starter_testing::{NotifyClient, Process, skipped};

    use crate::fixtures::supervisor;

    fn is_root() -> bool {
        let root = nix::unistd::geteuid().is_root();
        if !root {
            skipped("a worker of another user needs root");
        }
        root
    }

    fn ids(worker: Process) -> [String; 3] {
        let words = |name| {
            let line = worker.status(name).unwrap_or_default();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        ["Uid", "Gid", "Groups"].map(words)
    }

    const SLEEP: [&str; 3] = ["--", "sleep", "1000"];

    #[test]
    fn user_sets_groups_home_and_name() {
        if !is_root() {
            return;
        }
        let daemon = User::from_name("daemon").unwrap().unwrap();
        let s = supervisor(&["--user=daemon"])
            .env("HOME", "/root")
            .program(SLEEP)
            .start();
        let worker = s.wait_generation(1);
        s.settle();
        let [user, group, groups] = ids(worker);
        let (uid, gid) = (daemon.uid, daemon.gid);
        assert_eq!(user, format!("{uid} {uid} {uid} {uid}"));
        assert_eq!(group, format!("{gid} {gid} {gid} {gid}"));
        let mut expected = getgrouplist(c"daemon", gid).unwrap();
        expected.sort_by_key(|gid| gid.as_raw());
        let expected: Vec<String> = expected.iter().map(Gid::to_string).collect();
        assert_eq!(groups, expected.join(" "));
        assert_eq!(worker.variable("USER").as_deref(), Some("daemon"));
        assert_eq!(worker.variable("LOGNAME").as_deref(), Some("daemon"));
        let home = worker.variable("HOME");
        assert_eq!(home.as_deref(), daemon.dir.to_str());
        assert_eq!(
            s.process().status("Uid").unwrap().split_whitespace().next(),
            Some("0")
        );
        // The worker can be signalled and replaced.
        s.hup();
        s.wait_generation(2);
        s.stop();
    }

    #[test]
    fn user_and_group_may_be_numbers() {
        if !is_root() {
            return;
        }
        let s = supervisor(&["--user=4242", "--group=4343"])
            .program(SLEEP)
            .start();
        let worker = s.wait_generation(1);
        s.settle();
        let four = |id: &str| [id; 4].join(" ");
        assert_eq!(ids(worker), [four("4242"), four("4343"), "4343".to_owned()]);
        s.stop();
    }

    #[test]
    fn worker_of_another_user_can_notify_and_third_users_cannot() {
        if !is_root() {
            return;
        }
        let options = [
            "--user=4242",
            "--group=4343",
            "--ready=notify",
            "--start-timeout=1000",
        ];
        let s = supervisor(&options).program(SLEEP).spawn();
        s.wait_line_starting("starting new worker ");
        let worker = || {
            s.process()
                .children()
                .into_iter()
                .find(|it| ids(*it)[0].starts_with("4242"))
        };
        s.eventually("the worker has changed its user", || worker().is_some());
        let worker = worker().unwrap();
        s.settle();
        let say = |user: u32, stdin| {
            let mut said = Command::new("/bin/sh");
            said.args(["-c", "printf READY=1 >&0"])
                .uid(user)
                .stdin(stdin);
            assert!(said.status().unwrap().success());
        };
        say(4243, NotifyClient::of(worker).into_fd());
        s.wait_line_starting("generation 1: ignoring a notification from another user: process ");
        assert_eq!(s.status(), []);
        let path = NotifyClient::of(worker).path;
        let may_write = |user: u32| {
            let mut test = Command::new("/bin/sh");
            let test = test.args(["-c", "test -w \"$0\""]).arg(&path).uid(user);
            test.status().unwrap().success()
        };
        // The directory belongs to root, so that the user cannot replace the socket.
        let owner = |path: &std::path::Path| path.metadata().unwrap().uid();
        assert_eq!((owner(path.parent().unwrap()), owner(&path)), (0, 4242));
        assert!(!may_write(4243));
        say(4242, NotifyClient::of(worker).into_fd());
        s.wait_generation(1);
        s.stop();
        assert!(!path.parent().unwrap().exists());
    }

    #[test]
    fn notification_socket_is_where_the_user_can_reach_it() {
        if !is_root() {
            return;
        }
        let options = ["--user=4242", "--group=4343"];
        let builder =
            supervisor(&options).before("mkdir -m 700 \"$DIR/session\"; chmod 1777 \"$DIR\"");
        let session = builder.path("session");
        let s = builder
            .env("XDG_RUNTIME_DIR", &session)
            .program(SLEEP)
            .start();
        s.wait_line_starting(&format!(
            "no place for notification sockets in {}: workers could not enter it; using ",
            session.display()
        ));
        let path = NotifyClient::of(s.wait_generation(1)).path;
        assert!(!path.starts_with(session), "{}", path.display());
        s.stop();
    }

    #[test]
    fn tmpdir_that_the_user_can_write_to_is_not_used() {
        let builder = supervisor(&[]).before("mkdir -m 777 \"$DIR/open\"; chmod 777 \"$DIR/open\"");
        let open = builder.path("open");
        let s = builder
            .env("RUNTIME_DIRECTORY", &open)
            .program(SLEEP)
            .start();
        s.wait_line_starting(&format!(
            "no place for notification sockets in {}: others could rename in it; using ",
            open.display()
        ));
        s.stop();
    }

    #[test]
    fn directory_that_the_user_cannot_enter_is_an_error() {
        if !is_root() {
            return;
        }
        let refused = supervisor(&["--user=4242", "--group=4343", "--dir=DIR/closed"])
            .before("mkdir -m 700 \"$DIR/closed\"")
            .program(SLEEP)
            .run();
        refused.expect(1, &["failed to chdir to ", ": Permission denied"]);
    }

    #[test]
    fn unknown_user_and_group_are_refused_at_start() {
        let refused = |option: &str| supervisor(&[option]).program(SLEEP).run();
        refused("--user=no-such-user").expect(2, &["--user=no-such-user: no such user"]);
        refused("--group=no-such-group").expect(2, &["--group=no-such-group: no such group"]);
        refused("--user=4242").expect(2, &["--user=4242", "--group is needed"]);
    }

    #[test]
    fn user_without_root_is_refused() {
        let mut builder = supervisor(&["--user=daemon"]).program(SLEEP);
        if nix::unistd::geteuid().is_root() {
            builder = builder.before(
                "[ -n \"$INNER\" ] || INNER=1 exec setpriv --reuid 4242 --regid 4242 --clear-groups \"$@\"",
            );
        }
        let uid = User::from_name("daemon").unwrap().unwrap().uid;
        builder
            .run()
            .expect(1, &[&format!("only root can start workers as user {uid}")]);
    }
}
