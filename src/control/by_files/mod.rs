//! `--restart` and `--stop` of a supervisor without a control socket: by signals, and by what its pid
//! file and its status file say.

mod restart;
mod stop;
mod target;

pub(super) use restart::restart;
pub(super) use stop::stop;
