//! Memfd: the file of an anonymous ring. A sealed memfd rather than MAP_ANONYMOUS, because a child can then open a description of
//! its own for its locks, and everything else is the same code.
//!
//! (I1) allocated before it is used, sealed against shrinking and growing: no page of it can ever be missing.

use super::file;
use crate::error::{Error, FileKind};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::path::Path;

/// A new memfd of this size, allocated and sealed.
pub(crate) fn create(file_bytes: u64) -> Result<File, Error> {
    let name = Path::new("(anonymous ring)");
    let io = |operation| {
        move |source: nix::Error| Error::Io { operation, path: name.to_path_buf(), source: source.into() }
    };
    let fd = memfd_create("shm-ring", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)
        .map_err(io("create"))?;
    let file = File::from(fd);
    file::allocate(&file, file_bytes, name, FileKind::Ring)?;
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).map_err(io("seal"))?;
    Ok(file)
}
