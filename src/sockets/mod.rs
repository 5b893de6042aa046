//! The listening sockets: parsed from the command line, bound or inherited once, and passed on to every worker.

mod bind;
mod endpoint;
mod export;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod inherit;
mod path_spec;
mod plan;
mod port_spec;
mod reopen;
mod socket;
mod unix_path;

pub(crate) use export::ListenFds;
pub(crate) use inherit::take as take_inherited;
pub use path_spec::PathSpec;
pub(crate) use plan::Plan;
pub(crate) use plan::taken::{Offer, Wanted, WantedAddress};
pub use port_spec::{AddressSpec, Host, PortSpec};
pub(crate) use reopen::{ReopenCause, ReopenOutcome, Reopened, Reopener};
pub(crate) use socket::{FIRST_FD, SavedSocket, Sockets};
pub use unix_path::PathAccess;
pub(crate) use unix_path::{SocketFile, UnixPath, bind as bind_path};
