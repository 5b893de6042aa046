//! `--generate`: manual page, completions and units. Perl's program does not have it.

mod extensions {
    use server_starter_testing::program;

    use crate::fixtures::bare_supervisor;

    fn generated(options: &[&str], program: &[&str]) -> String {
        let done = bare_supervisor(options)
            .program(program.iter().copied())
            .run();
        done.expect(0, &[]);
        assert_eq!(done.stderr, "", "{done}");
        done.stdout.clone()
    }

    /// The long options in `--help`.
    fn options() -> Vec<String> {
        let help = generated(&["--help"], &[]);
        let names = help.lines().filter_map(|line| {
            let (_, name) = line
                .trim_start()
                .split_once("--")
                .filter(|(before, _)| before.is_empty() || before.ends_with(", "))?;
            let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
            let end = name.find(|c| !is_name(c)).unwrap_or(name.len());
            Some(format!("--{}", &name[..end]))
        });
        let names: Vec<String> = names.collect();
        assert!(names.len() > 25, "{names:?}");
        names
    }

    #[test]
    fn manual_lists_all_options() {
        let page = generated(&["--generate=man"], &[]);
        assert!(page.contains(".TH START_SERVER 1"), "{page}");
        for option in options() {
            let written = option.replace('-', "\\-");
            assert!(page.contains(&written), "{option} is not in\n{page}");
        }
        for line in page.lines() {
            assert!(!line.ends_with(' '), "white space at the end of {line:?}");
        }
    }

    #[test]
    fn completions_list_all_options() {
        for shell in ["bash", "zsh", "fish"] {
            let script = generated(&[&format!("--generate=complete-{shell}")], &[]);
            for option in options() {
                let written = match shell {
                    "fish" => format!("-l {}", &option[2..]),
                    _ => option,
                };
                assert!(script.contains(&written), "{written} is not in\n{script}");
            }
            assert!(
                !script.contains("preflight"),
                "--preflight is internal and must not be completed"
            );
        }
    }

    #[test]
    fn bash_accepts_its_completions() {
        let script = generated(&["--generate=complete-bash"], &[]);
        let complete = format!(
            "{script}\nCOMP_WORDS=(start_server --gen) COMP_CWORD=1 COMPREPLY=()\n\
             _start_server start_server --gen start_server; echo \"${{COMPREPLY[*]}}\""
        );
        let done = std::process::Command::new("bash")
            .args(["-c", &complete])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), "--generate");
    }

    #[test]
    fn units_are_generated_from_the_other_options() {
        let options = ["--generate=units", "--name=web", "--port=8080", "--int=2"];
        let units = generated(&options, &["--", "/srv/web/bin/web", "--price=5$"]);
        let (service, socket) = units.split_once("\n# --- web.socket\n").unwrap();
        assert!(service.starts_with("# --- web.service\n"), "{units}");
        for part in [
            "--port=8080 ",
            "--interval=2 ",
            "-- /srv/web/bin/web --price=5$$\n",
            "ExecReload=/",
            "RuntimeDirectory=web\n",
        ] {
            assert!(service.contains(part), "{part} is not in\n{service}");
        }
        assert!(socket.contains("ListenStream=0.0.0.0:8080\n"), "{socket}");
    }

    #[test]
    fn unknown_kind_is_refused() {
        for (options, why) in [
            (&["--generate=pdf"][..], "pdf"),
            (&["--generate=units", "--name=web"], "not specified"),
            (&["--generate=man", "--stop"], "--stop"),
            (&["--name=web"], "--generate"),
        ] {
            bare_supervisor(options).run().expect(2, &[why]);
        }
    }

    #[test]
    fn full_disk_is_an_error() {
        let done = std::process::Command::new("sh")
            .args(["-c", "exec \"$0\" --generate=man >/dev/full"])
            .arg(program!().path())
            .output()
            .unwrap();
        assert_eq!(done.status.code(), Some(1), "{done:?}");
    }
}
