//! Fuzz target `state`: the state that an upgrade passes on, see [`crate::fuzzing`].

use super::saved_state::SavedState;

/// The state is refused, or is the same after writing and parsing it again.
pub fn state(data: &[u8]) {
    let Ok(state) = SavedState::parse(data) else {
        return;
    };
    let written = serde_json::to_vec(&state).expect("JSON");
    let again = SavedState::parse(&written).expect("the state that was written");
    assert_eq!(serde_json::to_vec(&again).expect("JSON"), written);
}
