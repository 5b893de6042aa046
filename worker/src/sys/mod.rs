//! System calls, and the only unsafe code of this crate: ownership of inherited descriptors
//! ([`claim`]), signal handlers ([`signals`]), and the pidfd id of this process ([`pidfd`]).
#![allow(unsafe_code)]

pub(crate) mod claim;
pub(crate) mod pidfd;
pub(crate) mod signals;
