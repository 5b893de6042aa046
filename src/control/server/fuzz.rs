//! A client that sends garbage, in pieces; see [`crate::fuzzing`].

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::connection::Connection;
use super::{LONGEST, would_block};
use crate::control::varlink::{Answer, Call, reply};

/// The first byte says how large the pieces are. If it is the largest and the second one is
/// small, so much white space goes before the rest that it is too long, or nearly. That is slow, and rare.
pub fn connection(data: &[u8]) {
    let [size, blanks, text @ ..] = data else {
        return;
    };
    let blanks = match (*size, *blanks) {
        (u8::MAX, kibibytes @ ..16) => LONGEST + usize::from(kibibytes) * 1024 - 8192,
        _ => 0,
    };
    let said = [vec![b' '; blanks].as_slice(), text].concat();
    let piece = match blanks {
        // Of many the fuzzer would see only few.
        0 => (usize::from(*size) + 1).max(text.len() / 16),
        _ => 4096,
    };

    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    for stream in [&ours, &theirs] {
        stream.set_nonblocking(true).expect("a socket");
    }
    let mut client = Client {
        stream: theirs,
        heard: Vec::new(),
    };
    let mut connection = Connection::new(ours);
    let mut taken = Vec::new();
    for piece in said.chunks(piece) {
        if connection.is_over() {
            break;
        }
        client.stream.write_all(piece).expect("there is room");
        while is_readable(&connection) {
            connection.has_news(PollFlags::POLLIN);
            assert!(connection.waiting() <= LONGEST + 4096, "it is bounded");
            answer_all(&mut connection, &mut taken);
            client.read();
        }
    }
    expect(&said, &connection, &taken);
    let wanted = taken.iter().filter(|oneway| !**oneway).count();
    assert_eq!(client.answers(), wanted, "as many answers as are wanted");
}

fn answer_all(connection: &mut Connection, taken: &mut Vec<bool>) {
    while let Some(call) = connection.next_call() {
        taken.push(call.oneway);
        if connection.take(taken.len() as u64, &call).is_some() {
            assert!(!connection.interest().contains(PollFlags::POLLIN));
            assert!(connection.next_call().is_none(), "one after the other");
            connection.finish(&reply(serde_json::json!({}), false));
        }
    }
}

/// Whole messages, up to the first that is no call, or is too long.
fn expect(said: &[u8], connection: &Connection, taken: &[bool]) {
    let mut messages: Vec<&[u8]> = said.split(|byte| *byte == 0).collect();
    let rest = messages.pop().unwrap_or_default();
    let calls: Vec<Call> = messages.iter().map_while(|m| Call::parse(m)).collect();
    let oneway = calls.iter().map(|call| call.oneway);
    let all_are_calls = calls.len() == messages.len();
    // Pieces end where they like: what is a little too long may or may not be.
    let long = messages.iter().chain([&rest]).map(|m| m.len()).max();
    match long.unwrap_or_default() {
        n if n + 4096 <= LONGEST => {
            assert!(oneway.eq(taken.iter().copied()), "each call is taken");
            assert_eq!(connection.is_over(), !all_are_calls);
        }
        n if n > LONGEST + 4096 => assert!(connection.is_over()),
        _ => assert!(taken.len() <= calls.len()),
    }
}

fn is_readable(connection: &Connection) -> bool {
    let mut fds = [PollFd::new(connection.as_fd(), PollFlags::POLLIN)];
    !connection.is_over() && poll(&mut fds, PollTimeout::ZERO) == Ok(1)
}

struct Client {
    stream: UnixStream,
    heard: Vec<u8>,
}

impl Client {
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => self.heard.extend_from_slice(&buffer[..read]),
                Err(e) if would_block(&e) => return,
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn answers(&mut self) -> usize {
        self.read();
        let mut messages = self.heard.split(|byte| *byte == 0);
        assert_eq!(messages.next_back(), Some(&[][..]), "each is whole");
        let understood = |m: &[u8]| {
            matches!(
                Answer::parse(m),
                Some(Answer::Results(..) | Answer::Other(_))
            )
        };
        messages.inspect(|m| assert!(understood(m))).count()
    }
}
