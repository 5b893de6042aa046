//! Garbage where the state of a supervisor should be; see [`crate::fuzzing`].

use super::state::State;

/// What a program before us has left. It is refused, or understood: then written again it is the same.
pub fn state(data: &[u8]) {
    let Ok(state) = State::parse(data) else {
        return;
    };
    let written = serde_json::to_vec(&state).expect("a state can be written");
    let again = State::parse(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("as before"), written);
}
