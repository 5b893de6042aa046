//! The thin layer over the kernel, and the only unsafe code of this crate: descriptors by number
//! ([`claim`]), signal handlers ([`signals`]), and the question who we are ([`pidfd`]).
#![allow(unsafe_code)]

pub(crate) mod claim;
pub(crate) mod pidfd;
pub(crate) mod signals;
