//! Fuzz target `connection`: a client's bytes, in pieces, see [`crate::fuzzing`].

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::connection::Connection;
use super::{LONGEST, would_block};
use crate::control::varlink::{Answer, Call, reply};

/// Sends the input to a connection in pieces; the first byte gives their size. If it is 255 and the
/// second byte is below 16, the client first sends as many spaces as make the message too long, or
/// nearly so. That is slow, hence rare.
pub fn connection(data: &[u8]) {
    let [size, spaces, text @ ..] = data else {
        return;
    };
    let spaces = match (*size, *spaces) {
        (u8::MAX, kibibytes @ ..16) => LONGEST + usize::from(kibibytes) * 1024 - 8192,
        _ => 0,
    };
    let sent = [vec![b' '; spaces].as_slice(), text].concat();
    let piece = match spaces {
        // At most 16 pieces: more would make the target slow.
        0 => (usize::from(*size) + 1).max(text.len() / 16),
        _ => 4096,
    };

    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    for stream in [&ours, &theirs] {
        stream.set_nonblocking(true).expect("a socket");
    }
    let mut client = Client {
        stream: theirs,
        received: Vec::new(),
    };
    let mut connection = Connection::new(ours);
    let mut taken = Vec::new();
    for piece in sent.chunks(piece) {
        if connection.is_over() {
            break;
        }
        client.stream.write_all(piece).expect("there is room");
        while is_readable(&connection) {
            connection.has_news(PollFlags::POLLIN);
            assert!(
                connection.waiting() <= LONGEST + 4096,
                "the buffer is bounded"
            );
            answer_all(&mut connection, &mut taken);
            client.read();
        }
    }
    check_taken(&sent, &connection, &taken);
    let expected = taken.iter().filter(|oneway| !**oneway).count();
    assert_eq!(client.count_answers(), expected, "one answer for each call");
}

/// Answers all calls that wait, one after the other. `taken` gets `oneway` of each.
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

/// The connection has taken all whole messages before the first that is not a call, or too long.
fn check_taken(sent: &[u8], connection: &Connection, taken: &[bool]) {
    let mut messages: Vec<&[u8]> = sent.split(|byte| *byte == 0).collect();
    let rest = messages.pop().unwrap_or_default();
    let calls: Vec<Call> = messages.iter().map_while(|m| Call::parse(m)).collect();
    let oneway = calls.iter().map(|call| call.oneway);
    let all_are_calls = calls.len() == messages.len();
    // The limit is checked after each piece, so a message slightly above it may pass.
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
    received: Vec<u8>,
}

impl Client {
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => self.received.extend_from_slice(&buffer[..read]),
                Err(e) if would_block(&e) => return,
                Err(e) => panic!("{e}"),
            }
        }
    }

    fn count_answers(&mut self) -> usize {
        self.read();
        let mut messages = self.received.split(|byte| *byte == 0);
        assert_eq!(messages.next_back(), Some(&[][..]), "whole messages");
        let is_answer = |m: &[u8]| {
            matches!(
                Answer::parse(m),
                Some(Answer::Results(..) | Answer::Other(_))
            )
        };
        messages.inspect(|m| assert!(is_answer(m))).count()
    }
}
