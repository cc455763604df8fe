//! File: creating, checking and opening files, of whatever kind can be recognised.
//!
//! ```text
//!   nameless file -> allocate all -> header -> populate -> link under the name
//!        |                                                      |
//!   dies with the process                         EEXIST: somebody was first
//! ```
//!
//! (I1) nobody ever sees half a file; (I2) a file is never truncated, shrunk or written before it was recognised; (I3) every page
//! exists before anybody maps it, so that a full disk is an error and not a signal; (I4) what is refused is left as it was; (I5) nothing is
//! mapped from where two mappings need not be the same memory.
//! Takes no exception from (I2) but one: [`extend`] gives back what it had got of an extension that failed, which nobody has been told of.

use super::network::refuse_network;
use crate::error::{Error, FileKind};
use crate::layout::header::{self, HEADER_BYTES, Header, Malformed};
use crate::layout::{mapped, table};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, fallocate, posix_fallocate};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{linkat, syncfs};
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::ops::Range;
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

/// A kind of file, by its page 0.
pub(crate) trait Recognise {
    /// What page 0 says.
    type Header;

    /// What messages call it.
    fn kind(&self) -> FileKind;
    /// The layout version that this library writes.
    fn version(&self) -> u32;
    /// Whether a file that begins so is one, however short.
    fn has_magic(&self, magic: [u8; 8]) -> bool;
    /// Reads page 0, believing nothing.
    fn decode(&self, bytes: &[u8; HEADER_BYTES]) -> Result<Self::Header, Malformed>;
    /// The page size that it was made for.
    fn page_bytes(header: &Self::Header) -> u64;
    /// How long it must be.
    fn length(header: &Self::Header) -> Length;
}

/// How long a file must be, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// No more and no less.
    Exactly(u64),
    /// It may have grown.
    AtLeast(u64),
}

/// A ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingFile;

impl Recognise for RingFile {
    type Header = Header;

    fn kind(&self) -> FileKind {
        FileKind::Ring
    }

    fn version(&self) -> u32 {
        header::LAYOUT_VERSION
    }

    fn has_magic(&self, magic: [u8; 8]) -> bool {
        magic == header::MAGIC
    }

    fn decode(&self, bytes: &[u8; HEADER_BYTES]) -> Result<Header, Malformed> {
        Header::decode(bytes)
    }

    fn page_bytes(header: &Header) -> u64 {
        header.geometry.page_bytes
    }

    fn length(header: &Header) -> Length {
        Length::Exactly(header.geometry.file_bytes)
    }
}

/// A mapped file of this kind: append, ranged, or either.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MappedFile(pub(crate) FileKind);

impl Recognise for MappedFile {
    type Header = mapped::Header;

    fn kind(&self) -> FileKind {
        self.0
    }

    fn version(&self) -> u32 {
        mapped::LAYOUT_VERSION
    }

    fn has_magic(&self, magic: [u8; 8]) -> bool {
        match self.0 {
            FileKind::Append => magic == mapped::MAGIC_APPEND,
            FileKind::Ranged => magic == mapped::MAGIC_RANGED,
            _ => magic == mapped::MAGIC_APPEND || magic == mapped::MAGIC_RANGED,
        }
    }

    fn decode(&self, bytes: &[u8; HEADER_BYTES]) -> Result<mapped::Header, Malformed> {
        let magic = *bytes.first_chunk().expect("a header is longer than its magic");
        if self.has_magic(magic) {
            mapped::Header::decode(bytes)
        } else {
            Err(Malformed::Magic { found: magic })
        }
    }

    fn page_bytes(header: &mapped::Header) -> u64 {
        header.extent.page_bytes
    }

    fn length(header: &mapped::Header) -> Length {
        match header.kind {
            mapped::Kind::Append => Length::AtLeast(header.extent.file_bytes),
            mapped::Kind::Ranged { .. } => Length::Exactly(header.extent.file_bytes),
        }
    }
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
    pub(crate) fn new(path: &Path, kind: FileKind, file_bytes: u64, mode: u32) -> Result<Self, Error> {
        if path.symlink_metadata().is_ok() {
            return Err(Error::AlreadyExists { path: path.to_path_buf() });
        }
        let (file, temporary) = nameless(path).map_err(io_error("create", path))?;
        let this = Self { file, path: path.to_path_buf(), temporary };
        refuse_network(&this.file, path, kind)?;
        allocate(&this.file, file_bytes, path, kind)?;
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
    let directory = directory_of(path);
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

/// Where a file of that path is.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Refuses permission bits by which others could write under the slices of a mapped file.
pub(crate) fn check_mode(bits: u32) -> Result<u32, Error> {
    let bits = bits & 0o7777;
    if bits & 0o022 != 0 {
        let (expected, found) = ("no write permission for group and others".into(), format!("{bits:04o}"));
        return Err(Error::Invalid { option: "mode", expected, found });
    }
    Ok(bits)
}

/// Gives every byte of the file its place on the medium.
pub(crate) fn allocate(file: &File, file_bytes: u64, path: &Path, kind: FileKind) -> Result<(), Error> {
    if i64::try_from(file_bytes).is_err() {
        return Err(Error::Invalid {
            option: "capacity",
            expected: "less than 2^63 bytes".into(),
            found: file_bytes.to_string(),
        });
    }
    allocate_range(file, 0..file_bytes).map_err(|why| match why {
        NotAllocated::NoSpace { free_bytes } => {
            Error::NoSpace { kind, path: path.to_path_buf(), needed_bytes: file_bytes, free_bytes }
        }
        NotAllocated::Other(error) => io_error("allocate", path)(error.into()),
    })
}

/// Why bytes of a file have no place on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAllocated {
    /// There is none.
    NoSpace {
        /// What the file system has left.
        free_bytes: u64,
    },
    /// The system would not.
    Other(Errno),
}

/// Gives these bytes of the file their place on the medium; the file is at least as long as they reach then. An empty range is none.
pub(crate) fn allocate_range(file: &File, range: Range<u64>) -> Result<(), NotAllocated> {
    if range.is_empty() {
        return Ok(());
    }
    // Beyond this limit the kernel does not only refuse: it kills, by SIGXFSZ.
    let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE).map_err(NotAllocated::Other)?;
    if range.end > limit && file.metadata().map_or(true, |found| range.end > found.len()) {
        return Err(NotAllocated::NoSpace { free_bytes: limit.saturating_sub(range.start) });
    }
    let too_far = |_| NotAllocated::Other(Errno::EFBIG);
    let start = i64::try_from(range.start).map_err(too_far)?;
    let length = i64::try_from(range.end - range.start).map_err(too_far)?;
    loop {
        match posix_fallocate(file, start, length) {
            Ok(()) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::ENOSPC | Errno::EFBIG | Errno::EDQUOT) => {
                let free_bytes = fstatvfs(file).map_or(0, |s| s.blocks_available() * s.fragment_size());
                return Err(NotAllocated::NoSpace { free_bytes });
            }
            Err(error) => return Err(NotAllocated::Other(error)),
        }
    }
}

/// Gives these bytes their place, or takes none when there is not room for all of them, as far as that can be known before.
pub(crate) fn fill_holes(file: &File, range: Range<u64>) -> Result<(), NotAllocated> {
    let found = file
        .metadata()
        .map_err(|error| NotAllocated::Other(Errno::from_raw(error.raw_os_error().unwrap_or(0))))?;
    let missing = range.end.saturating_sub(found.blocks().saturating_mul(512));
    let missing = missing.min(range.end.saturating_sub(range.start));
    let free_bytes = fstatvfs(file).map_or(u64::MAX, |s| s.blocks_available() * s.fragment_size());
    if missing > free_bytes {
        return Err(NotAllocated::NoSpace { free_bytes });
    }
    allocate_range(file, range)
}

/// Gives these bytes their place, and makes the file as long as they reach; if that fails, it is as long as it was.
pub(crate) fn extend(file: &File, range: Range<u64>) -> Result<(), NotAllocated> {
    // What is there already, whoever made it, may be mapped and stays.
    let before = file.metadata().map(|found| found.len());
    allocate_range(file, range).inspect_err(|_| {
        // Some file systems keep the part that they could allocate. Nobody was told of these bytes, and only one writer extends a file.
        if let (Ok(before), Ok(found)) = (before, file.metadata()) {
            if found.len() > before {
                // Best effort: space that stays behind is harmless.
                let _ = file.set_len(before);
            }
        }
    })
}

/// Takes their place on the medium from bytes that are zeros from then on; the file stays as long as it is.
pub(crate) fn give_back(file: &File, range: Range<u64>) {
    let Ok(start) = i64::try_from(range.start) else { return };
    let Ok(length) = i64::try_from(range.end.saturating_sub(range.start)) else { return };
    if length > 0 {
        // Best effort: not every file system can, and what stays allocated is only space.
        let _ = fallocate(
            file,
            FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE,
            start,
            length,
        );
    }
}

/// A file that was recognised.
#[derive(Debug)]
pub(crate) struct Recognised<H> {
    /// Open as asked.
    pub(crate) file: File,
    /// What page 0 says, from one read.
    pub(crate) header: H,
    /// Its length at that time.
    pub(crate) file_bytes: u64,
}

/// Opens and checks an existing file. Changes nothing.
pub(crate) fn open<R: Recognise>(
    path: &Path,
    wanted: &R,
    writable: bool,
    trust: Trust,
) -> Result<Recognised<R::Header>, Error> {
    let (file, file_bytes) = open_regular(path, wanted.kind(), writable)?;
    refuse_network(&file, path, wanted.kind())?;
    let header = recognise(&file, file_bytes, path, wanted)?;
    if trust == Trust::Owner {
        check_owner(&file, path, wanted.kind())?;
    }
    Ok(Recognised { file, header, file_bytes })
}

/// Opens a regular file, whatever is in it and wherever it is, and says how long it is.
pub(crate) fn open_regular(path: &Path, kind: FileKind, writable: bool) -> Result<(File, u64), Error> {
    let (file, found) = open_found(path, kind, writable)?;
    Ok((file, found.len()))
}

/// The same, with all that the system says of it.
pub(crate) fn open_found(path: &Path, kind: FileKind, writable: bool) -> Result<(File, Metadata), Error> {
    // NONBLOCK: a FIFO of that name must not stop us; it means nothing for regular files.
    let flags = libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK;
    let refused = |found| Error::NotRegular { path: path.to_path_buf(), found };
    let file = match OpenOptions::new().read(true).write(writable).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) => {
            return Err(match error.raw_os_error() {
                Some(libc::ENOENT) => Error::NotFound { kind, path: path.to_path_buf() },
                Some(libc::ELOOP) => refused("symbolic link, which is not followed"),
                Some(libc::EISDIR) => refused("directory"),
                Some(libc::ENXIO) => refused("socket or unconnected FIFO"),
                Some(libc::EACCES | libc::EPERM | libc::EROFS) if writable && is_readable(path, flags) => {
                    Error::NotWritable { kind, path: path.to_path_buf(), source: error }
                }
                _ => io_error("open", path)(error),
            });
        }
    };
    let found = file.metadata().map_err(io_error("examine", path))?;
    let type_of = found.file_type();
    if !type_of.is_file() {
        return Err(refused(match () {
            () if type_of.is_dir() => "directory",
            () if type_of.is_char_device() => "character device",
            () if type_of.is_block_device() => "block device",
            () if type_of.is_fifo() => "FIFO",
            () => "special file",
        }));
    }
    Ok((file, found))
}

/// Refuses a file that others than this user can write.
pub(crate) fn check_owner(file: &File, path: &Path, kind: FileKind) -> Result<(), Error> {
    check_writers(file, path, kind, None)
}

/// Refuses a file that others than this user and root can write, for one that is only read: root can write them all, whosever they are.
pub(crate) fn check_reader(file: &File, path: &Path, kind: FileKind) -> Result<(), Error> {
    check_writers(file, path, kind, Some(0))
}

/// The same of one that was just examined.
pub(crate) fn check_reader_of(found: &Metadata, path: &Path, kind: FileKind) -> Result<(), Error> {
    check_writers_of(found, path, kind, Some(0))
}

fn check_writers(file: &File, path: &Path, kind: FileKind, other_uid: Option<u32>) -> Result<(), Error> {
    check_writers_of(&file.metadata().map_err(io_error("examine", path))?, path, kind, other_uid)
}

fn check_writers_of(
    found: &Metadata,
    path: &Path,
    kind: FileKind,
    other_uid: Option<u32>,
) -> Result<(), Error> {
    let mode = found.mode() & 0o7777;
    let (expected_uid, found_uid) = (nix::unistd::geteuid().as_raw(), found.uid());
    if found_uid != expected_uid && Some(found_uid) != other_uid {
        return Err(Error::WrongOwner { kind, path: path.to_path_buf(), expected_uid, found_uid });
    }
    if mode & 0o022 != 0 {
        return Err(Error::WrongMode { kind, path: path.to_path_buf(), found_mode: mode });
    }
    Ok(())
}

fn is_readable(path: &Path, flags: i32) -> bool {
    OpenOptions::new().read(true).custom_flags(flags).open(path).is_ok()
}

/// What page 0 says, if it says what is wanted, and the file is as long as it must be then.
pub(crate) fn recognise<R: Recognise>(
    file: &File,
    found_bytes: u64,
    path: &Path,
    wanted: &R,
) -> Result<R::Header, Error> {
    let mut bytes = [0; HEADER_BYTES];
    let n = read_at_most(file, &mut bytes, 0).map_err(io_error("read", path))?;
    let (path, kind) = (path.to_path_buf(), wanted.kind());
    if n == 0 {
        return Err(not_wanted(path, kind, &[]));
    }
    let magic = *bytes.first_chunk().expect("a header is longer than its magic");
    if n < HEADER_BYTES && wanted.has_magic(magic) {
        return Err(Error::Truncated { kind, path, expected_bytes: HEADER_BYTES as u64, found_bytes });
    }
    let header = wanted.decode(&bytes).map_err(|malformed| match malformed {
        Malformed::Magic { found } => not_wanted(path.clone(), kind, &found[..n.min(8)]),
        Malformed::Version { found } => {
            Error::VersionMismatch { path: path.clone(), expected: wanted.version(), found }
        }
        field @ Malformed::Field { .. } => corrupt(&path, field),
    })?;
    let (Length::Exactly(expected_bytes) | Length::AtLeast(expected_bytes)) = R::length(&header);
    if found_bytes < expected_bytes {
        return Err(Error::Truncated { kind, path, expected_bytes, found_bytes });
    }
    if R::length(&header) == Length::Exactly(expected_bytes) && found_bytes > expected_bytes {
        return Err(Error::Corrupt {
            path,
            what: "length of the file",
            expected: format!("{expected_bytes} bytes"),
            found: format!("{found_bytes} bytes"),
        });
    }
    let (made_for, page) = (R::page_bytes(&header), page_bytes());
    if made_for % page != 0 {
        return Err(Error::Unsupported {
            what: match kind {
                FileKind::Ring => "this ring's page size",
                _ => "this file's page size",
            },
            reason: format!("it was made for pages of {made_for} bytes, this machine has {page}"),
        });
    }
    Ok(header)
}

/// The refusal of a file of which a part is not what it must be.
pub(crate) fn corrupt(path: &Path, malformed: Malformed) -> Error {
    let path = path.to_path_buf();
    match malformed {
        Malformed::Field { what, expected, found } => Error::Corrupt { path, what, expected, found },
        other => Error::Corrupt {
            path,
            what: "header",
            expected: "another one".into(),
            found: format!("{other:?}"),
        },
    }
}

/// The refusal of a file that begins otherwise.
pub(crate) fn not_wanted(path: PathBuf, expected: FileKind, begins: &[u8]) -> Error {
    let text = || format!("{:?}", String::from_utf8_lossy(begins));
    let found = match begins {
        [] => "an empty file".into(),
        _ if expected == FileKind::Ring => text(),
        _ if begins == header::MAGIC => format!("a {}", FileKind::Ring),
        _ if begins == mapped::MAGIC_APPEND => format!("an {}", FileKind::Append),
        _ if begins == mapped::MAGIC_RANGED => format!("a {}", FileKind::Ranged),
        _ if begins.starts_with(&table::MAGIC) => format!("a {}", FileKind::Table),
        _ => text(),
    };
    if expected == FileKind::Ring {
        return Error::NotARing { path, found };
    }
    Error::OtherKind { path, expected, found }
}

/// Reads from `offset` on until `bytes` are full or the file ends; says how many were read.
pub(crate) fn read_at_most(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut n = 0;
    while n < bytes.len() {
        match file.read_at(&mut bytes[n..], offset + n as u64) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(n)
}

/// Writes page 0; before publication only.
pub(crate) fn write_header(file: &File, header: &[u8; HEADER_BYTES], path: &Path) -> Result<(), Error> {
    file.write_all_at(header, 0).map_err(io_error("write the header of", path))
}

/// Brings a file, all of it, to the medium.
pub(crate) fn sync_file(file: &File, path: &Path) -> Result<(), Error> {
    file.sync_all().map_err(io_error("sync", path))
}

/// Brings a file's name to the medium.
pub(crate) fn sync_name(path: &Path) -> Result<(), Error> {
    match File::open(directory_of(path)) {
        Ok(directory) => directory.sync_all().map_err(io_error("sync the directory of", path)),
        // Who may write a directory need not be allowed to read it: then nothing can be said, and nothing more be done.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(io_error("open the directory of", path)(error)),
    }
}

/// Brings a directory, in which the file has its name, to the medium; all of the file's file system, where that can't be read.
pub(crate) fn sync_directory(file: &File, directory: &Path) -> io::Result<()> {
    match File::open(directory) {
        Ok(directory) => directory.sync_all(),
        // Who may write a directory need not be allowed to read it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(syncfs(file)?),
        Err(error) => Err(error),
    }
}

/// The same path for a process that changes its directory; as it is, where that can't be found out.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
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
