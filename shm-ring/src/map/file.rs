//! File: creating, checking and opening ring files.
//!
//! ```text
//!   nameless file -> allocate all -> header -> populate -> link under the name
//!        |                                                      |
//!   dies with the process                         EEXIST: somebody was first
//! ```
//!
//! (I1) nobody ever sees half a ring; (I2) a file is never truncated, shrunk or written before it was recognised; (I3) every page
//! exists before anybody maps it, so that a full disk is an error and not a signal; (I4) what is refused is left as it was; (I5) nothing is
//! mapped from where two mappings need not be the same memory.

use crate::error::Error;
use crate::layout::header::{HEADER_BYTES, Header, LAYOUT_VERSION, Malformed};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, posix_fallocate};
use nix::sys::statfs::fstatfs;
use nix::sys::statvfs::fstatvfs;
use nix::unistd::linkat;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Whether a file that others can write is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Only one that nobody but this user can write.
    Owner,
    /// Any: the caller answers for the others, or copies and checks everything.
    Anybody,
}

/// A file that will get its name when it is complete.
#[derive(Debug)]
pub(crate) struct Unpublished {
    file: File,
    path: PathBuf,
    /// Set where the file system has no nameless files; removed on drop.
    temporary: Option<PathBuf>,
}

impl Unpublished {
    /// A new, allocated file in the directory of `path`, which must be free.
    pub(crate) fn new(path: &Path, file_bytes: u64, mode: u32) -> Result<Self, Error> {
        if path.symlink_metadata().is_ok() {
            return Err(Error::AlreadyExists { path: path.to_path_buf() });
        }
        let (file, temporary) = nameless(path).map_err(io_error("create", path))?;
        let this = Self { file, path: path.to_path_buf(), temporary };
        refuse_network(&this.file, path)?;
        allocate(&this.file, file_bytes, path)?;
        // After the umask, which does not apply to it.
        this.file.set_permissions(Permissions::from_mode(mode)).map_err(io_error("set the mode of", path))?;
        Ok(this)
    }

    /// The file, to be filled.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Gives it its name; fails when somebody was first.
    pub(crate) fn publish(mut self) -> Result<(), Error> {
        let source = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        let linked =
            linkat(AT_FDCWD, source.as_path(), AT_FDCWD, self.path.as_path(), AtFlags::AT_SYMLINK_FOLLOW);
        match linked {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Err(Error::AlreadyExists { path: self.path.clone() }),
            Err(error) => return Err(io_error("link", &self.path)(error.into())),
        }
        self.remove_temporary();
        Ok(())
    }

    fn remove_temporary(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // Best effort: a name that stays behind is harmless, a ring that vanishes is not.
            let _ = std::fs::remove_file(temporary);
        }
    }
}

impl Drop for Unpublished {
    fn drop(&mut self) {
        self.remove_temporary();
    }
}

fn nameless(path: &Path) -> io::Result<(File, Option<PathBuf>)> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(libc::O_TMPFILE).open(directory) {
        Ok(file) => return Ok((file, None)),
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::EINVAL)) => {}
        Err(error) => return Err(error),
    }
    let random = super::clock::random()?;
    let suffix: String = random[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{suffix}.tmp"));
    let file = options.create_new(true).open(&temporary)?;
    Ok((file, Some(temporary)))
}

/// Gives every byte of the file its place on the medium.
pub(crate) fn allocate(file: &File, file_bytes: u64, path: &Path) -> Result<(), Error> {
    let length = i64::try_from(file_bytes).map_err(|_| Error::Invalid {
        option: "capacity",
        expected: "less than 2^63 bytes".into(),
        found: file_bytes.to_string(),
    })?;
    loop {
        match posix_fallocate(file, 0, length) {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::ENOSPC | Errno::EFBIG | Errno::EDQUOT) => {
                let free_bytes = fstatvfs(file).map_or(0, |s| s.blocks_available() * s.fragment_size());
                return Err(Error::NoSpace {
                    path: path.to_path_buf(),
                    needed_bytes: file_bytes,
                    free_bytes,
                });
            }
            Err(error) => return Err(io_error("allocate", path)(error.into())),
        }
    }
}

/// A ring file that was recognised.
#[derive(Debug)]
pub(crate) struct Recognised {
    /// Open as asked.
    pub(crate) file: File,
    /// What page 0 says, from one read.
    pub(crate) header: Header,
}

/// Opens and checks an existing ring. Changes nothing.
pub(crate) fn open(path: &Path, writable: bool, trust: Trust) -> Result<Recognised, Error> {
    // NONBLOCK: a FIFO of that name must not stop us; it means nothing for regular files.
    let flags = libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK;
    let refused = |found| Error::NotRegular { path: path.to_path_buf(), found };
    let file = match OpenOptions::new().read(true).write(writable).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) => {
            return Err(match error.raw_os_error() {
                Some(libc::ENOENT) => Error::NotFound { path: path.to_path_buf() },
                Some(libc::ELOOP) => refused("symbolic link, which is not followed"),
                Some(libc::EISDIR) => refused("directory"),
                Some(libc::ENXIO) => refused("socket or unconnected FIFO"),
                Some(libc::EACCES | libc::EPERM | libc::EROFS) if writable && is_readable(path, flags) => {
                    Error::NotWritable { path: path.to_path_buf(), source: error }
                }
                _ => io_error("open", path)(error),
            });
        }
    };
    let found = file.metadata().map_err(io_error("examine", path))?;
    let kind = found.file_type();
    if !kind.is_file() {
        return Err(refused(match () {
            () if kind.is_dir() => "directory",
            () if kind.is_char_device() => "character device",
            () if kind.is_block_device() => "block device",
            () if kind.is_fifo() => "FIFO",
            () => "special file",
        }));
    }
    refuse_network(&file, path)?;
    let header = recognise(&file, found.len(), path)?;
    if trust == Trust::Owner {
        let mode = found.mode() & 0o7777;
        let expected_uid = nix::unistd::geteuid().as_raw();
        if found.uid() != expected_uid {
            return Err(Error::WrongOwner { path: path.to_path_buf(), expected_uid, found_uid: found.uid() });
        }
        if mode & 0o022 != 0 {
            return Err(Error::WrongMode { path: path.to_path_buf(), found_mode: mode });
        }
    }
    Ok(Recognised { file, header })
}

fn is_readable(path: &Path, flags: i32) -> bool {
    OpenOptions::new().read(true).custom_flags(flags).open(path).is_ok()
}

fn refuse_network(file: &File, path: &Path) -> Result<(), Error> {
    let found = fstatfs(file).map_err(|error| io_error("examine the file system of", path)(error.into()))?;
    // All magic numbers have 32 bits; some C libraries extend their sign.
    let magic = found.filesystem_type().0 & 0xffff_ffff;
    match u32::try_from(magic).ok().and_then(network_file_system) {
        Some(found) => Err(Error::NetworkFileSystem { path: path.to_path_buf(), found }),
        None => Ok(()),
    }
}

/// What a file system is called that other machines may have a share in, or that a process serves as it likes; by its number in `statfs`.
fn network_file_system(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517b => "SMB",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB2",
        0x0102_1997 => "9P",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x00c3_6400 => "Ceph",
        0x7375_7245 => "Coda",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x2003_0528 => "OrangeFS",
        0x786f_4256 => "a shared folder of VirtualBox",
        0x6573_5546 => "FUSE",
        _ => return None,
    })
}

fn recognise(file: &File, found_bytes: u64, path: &Path) -> Result<Header, Error> {
    let mut bytes = [0; HEADER_BYTES];
    let n = read_at_most(file, &mut bytes).map_err(io_error("read", path))?;
    let path = path.to_path_buf();
    if n == 0 {
        return Err(Error::NotARing { path, found: "an empty file".into() });
    }
    if n < HEADER_BYTES && bytes.starts_with(&crate::layout::header::MAGIC) {
        return Err(Error::Truncated { path, expected_bytes: HEADER_BYTES as u64, found_bytes });
    }
    let header = Header::decode(&bytes).map_err(|malformed| match malformed {
        Malformed::Magic { found } => Error::NotARing {
            path: path.clone(),
            found: format!("{:?}", String::from_utf8_lossy(&found[..n.min(8)])),
        },
        Malformed::Version { found } => {
            Error::VersionMismatch { path: path.clone(), expected: LAYOUT_VERSION, found }
        }
        Malformed::Field { what, expected, found } => {
            Error::Corrupt { path: path.clone(), what, expected, found }
        }
    })?;
    let expected_bytes = header.geometry.file_bytes;
    if found_bytes < expected_bytes {
        return Err(Error::Truncated { path, expected_bytes, found_bytes });
    }
    if found_bytes > expected_bytes {
        return Err(Error::Corrupt {
            path,
            what: "length of the file",
            expected: format!("{expected_bytes} bytes"),
            found: format!("{found_bytes} bytes"),
        });
    }
    let page = page_bytes();
    if header.geometry.page_bytes % page != 0 {
        return Err(Error::Unsupported {
            what: "this ring's page size",
            reason: format!(
                "it was made for pages of {} bytes, this machine has {page}",
                header.geometry.page_bytes
            ),
        });
    }
    Ok(header)
}

fn read_at_most(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < bytes.len() {
        match file.read_at(&mut bytes[n..], n as u64) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n)
}

/// Writes page 0; before publication only.
pub(crate) fn write_header(file: &File, header: &Header, path: &Path) -> Result<(), Error> {
    file.write_all_at(&header.encode(), 0).map_err(io_error("write the header of", path))
}

/// Permission bits of an open file.
pub(crate) fn mode_of(file: &File) -> u32 {
    file.metadata().map_or(0, |found| found.mode() & 0o7777)
}

/// This machine's page size.
pub(crate) fn page_bytes() -> u64 {
    let found = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    // Every Linux knows it; should it not, the smallest is refused later where it does not fit.
    found.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

/// An [`Error::Io`] in the making.
pub(crate) fn io_error<'a>(operation: &'static str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |source| Error::Io { operation, path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what other machines share is refused by its name, and what is local is not. Method: numbers of linux/magic.h; this directory.
    #[test]
    fn network_file_systems_are_known() {
        let shared = [
            (0x6969, "NFS"),
            (0x517b, "SMB"),
            (0xff53_4d42, "CIFS"),
            (0xfe53_4d42, "SMB2"),
            (0x0102_1997, "9P"),
            (0x5346_414f, "AFS"),
            (0x6b41_4653, "AFS"),
            (0x00c3_6400, "Ceph"),
            (0x7375_7245, "Coda"),
            (0x0116_1970, "GFS2"),
            (0x7461_636f, "OCFS2"),
            (0x6573_5546, "FUSE"),
        ];
        for (magic, name) in shared {
            assert_eq!(network_file_system(magic), Some(name), "{magic:#x}");
        }
        let [tmpfs, ramfs, ext4, xfs, btrfs] = [0x0102_1994, 0x8584_58f6, 0xef53, 0x5846_5342, 0x9123_683e];
        let [zfs, f2fs, overlayfs, hugetlbfs] = [0x2fc1_2fc1, 0xf2f5_2010, 0x794c_7630, 0x9584_58f6];
        for magic in [tmpfs, ramfs, ext4, xfs, btrfs, zfs, f2fs, overlayfs, hugetlbfs, 0, u32::MAX] {
            assert_eq!(network_file_system(magic), None, "{magic:#x}");
        }
        refuse_network(&tempfile::tempfile().unwrap(), Path::new("here")).unwrap();
    }
}
