//! Arbitrary bytes in place of a saved state; see [`crate::fuzzing`].

use super::saved_state::SavedState;

/// The bytes are refused, or read as a state which is written and read again without a change.
pub fn state(data: &[u8]) {
    let Ok(state) = SavedState::parse(data) else {
        return;
    };
    let written = serde_json::to_vec(&state).expect("a state can be written");
    let again = SavedState::parse(&written).expect("what was written can be read");
    assert_eq!(serde_json::to_vec(&again).expect("as before"), written);
}
