//! The saved form of the sockets, for the next program in this process.

use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};

use super::unix_path::SavedPath;
use super::{Origin, Socket, Sockets, UnixPath};
use crate::sys;
use crate::sys::reexec::FdSet;

/// A socket on its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SavedSocket {
    key: OsString,
    fd_name: OsString,
    fd: RawFd,
    origin: SavedOrigin,
    stored: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum SavedOrigin {
    Inherited,
    Bound {
        datagram: bool,
        path: Option<SavedPath>,
    },
}

impl Sockets {
    pub(crate) fn save(&self, fds: &mut FdSet) -> Vec<SavedSocket> {
        let saved = self.list.iter().map(|socket| SavedSocket {
            key: socket.key.clone(),
            fd_name: socket.fd_name.clone(),
            fd: fds.keep(&socket.fd),
            origin: match &socket.origin {
                Origin::Inherited => SavedOrigin::Inherited,
                Origin::Bound { datagram, path } => SavedOrigin::Bound {
                    datagram: *datagram,
                    path: path.as_ref().map(UnixPath::save),
                },
            },
            stored: socket.stored,
        });
        saved.collect()
    }

    pub(crate) fn resume(saved: Vec<SavedSocket>) -> io::Result<Sockets> {
        let list = saved.into_iter().map(|socket| {
            Ok(Socket {
                key: socket.key,
                fd_name: socket.fd_name,
                fd: sys::fd::adopt(socket.fd)?,
                origin: match socket.origin {
                    SavedOrigin::Inherited => Origin::Inherited,
                    SavedOrigin::Bound { datagram, path } => Origin::Bound {
                        datagram,
                        path: path.map(UnixPath::resume),
                    },
                },
                stored: socket.stored,
            })
        });
        let list: io::Result<_> = list.collect();
        Ok(Sockets { list: list? })
    }
}
