//! Words and values for unit files, as systemd reads them back: systemd.service(5), "COMMAND
//! LINES", and systemd.syntax(7).

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

/// Quotes one word of a command line. Unquoted, `%` begins a specifier, `$` a variable and a backslash an
/// escape; quotes and white space end the word, and a single `;` ends the command.
pub(super) fn quote(word: &OsStr) -> String {
    let mut quoted = String::new();
    for chunk in word.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '%' => quoted.push_str("%%"),
                '$' => quoted.push_str("$$"),
                '\\' => quoted.push_str("\\\\"),
                '"' => quoted.push_str("\\\""),
                '\n' => quoted.push_str("\\n"),
                '\t' => quoted.push_str("\\t"),
                c if c.is_ascii_control() => drop(write!(quoted, "\\x{:02x}", u32::from(c))),
                c => quoted.push(c),
            }
        }
        // Unit files are UTF-8. Other bytes are written by number.
        for byte in chunk.invalid() {
            let _ = write!(quoted, "\\x{byte:02x}");
        }
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@+[]%$".contains(c);
    match !quoted.is_empty() && quoted.chars().all(is_plain) {
        true => quoted,
        false => format!("\"{quoted}\""),
    }
}

/// Writes the value of a setting that is a path or a name. systemd knows specifiers there, but no quotes
/// and no escapes. Refuses values that cannot be written so.
pub(super) fn setting(value: &OsStr) -> Result<String, String> {
    let shown = value.to_string_lossy();
    let Some(text) = value.to_str() else {
        return Err(format!("{shown}: not UTF-8, and a unit file has to be"));
    };
    if text.contains(char::is_control) {
        return Err(format!(
            "{shown:?}: a unit cannot have a control character here"
        ));
    }
    if text.trim() != text || text.ends_with('\\') {
        return Err(format!(
            "{shown:?}: a unit cannot have white space or a backslash at the end"
        ));
    }
    Ok(text.replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_command_line_are_quoted() {
        let cases: [(&[u8], &str); 15] = [
            (b"/srv/web/bin/web", "/srv/web/bin/web"),
            (b"--port=[::1]:80=5", "--port=[::1]:80=5"),
            (b"", r#""""#),
            (b"a b", r#""a b""#),
            (b"it's", r#""it's""#),
            (b"say \"hi\"", r#""say \"hi\"""#),
            (br"a\b", r#""a\\b""#),
            (b"100%", "100%%"),
            (b"$HOME", "$$HOME"),
            (b"${HOME}", r#""$${HOME}""#),
            (b";", r#"";""#),
            (b"a\nb\tc\x01\x7f", r#""a\nb\tc\x01\x7f""#),
            ("grün".as_bytes(), r#""grün""#),
            (b"\xff/x", r#""\xff/x""#),
            (b"#", r##""#""##),
        ];
        for (word, wanted) in cases {
            assert_eq!(quote(OsStr::from_bytes(word)), wanted);
        }
    }

    #[test]
    fn values_of_settings_are_escaped_or_refused() {
        let setting = |text: &[u8]| setting(OsStr::from_bytes(text));
        assert_eq!(setting(b"/run/a b.sock").as_deref(), Ok("/run/a b.sock"));
        assert_eq!(setting(b"/run/%i").as_deref(), Ok("/run/%%i"));
        for bad in [&b"/a\nb"[..], b"/a ", b"/a\\", b"/\xff"] {
            assert!(setting(bad).is_err(), "{bad:?}");
        }
    }
}
