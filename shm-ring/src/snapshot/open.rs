//! Open: what is checked before a byte is handed out.
//!
//! ```text
//!   plain    regular file --> its length                                                                      --> read
//!   sealed   regular file --> header --> seal: not sealed? wrong? --> length: truncated? --> checksum of all  --> read
//!   mapped   local file system, nobody else can write it, no file that this library writes  --no--> an error, or pread
//!            (a sealed one it does not); room in the budget
//! ```
//!
//! (I1) what is refused is left as it was; (I2) nothing is believed before what covers it was checked; (I3) the length is from the one
//! descriptor that is read later.

use super::{FileSnapshot, ReadAt, ReadError};
use crate::error::{Error, FileKind};
use crate::layout::header::{self, Malformed};
use crate::layout::mapped::{self, Header, Kind, LIVE_BYTES, Seal};
use crate::map::file::{self, MappedFile, io_error};
use crate::map::network::refuse_network;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How much is copied at a time where a checksum is computed of copies.
const PIECE_BYTES: usize = 256 << 10;

/// A file to be read, and which part of it.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) file: File,
    /// Where the first byte is in the file; a multiple of the page size.
    pub(crate) start: u64,
    /// How many there are; the file had them all when it was opened.
    pub(crate) len: u64,
    /// What messages call it.
    pub(crate) kind: FileKind,
    /// What all of them must have, if it is known.
    crc: Option<u32>,
}

/// Opens any regular file.
pub(crate) fn plain(path: &Path) -> Result<Checked, Error> {
    let (file, len) = file::open_regular(path, FileKind::Plain, false)?;
    Ok(Checked { file, start: 0, len, kind: FileKind::Plain, crc: None })
}

/// A regular file that is open, so long.
#[cfg(feature = "arrow")]
pub(crate) fn plain_of(file: File, len: u64) -> Checked {
    Checked { file, start: 0, len, kind: FileKind::Plain, crc: None }
}

/// Opens a file as one of these two: a sealed one where it begins as one that can be sealed.
pub(crate) fn plain_or_sealed(path: &Path) -> Result<Checked, Error> {
    let checked = plain(path)?;
    match kind_of(&checked.file).map_err(io_error("read", path))? {
        None => Ok(checked),
        Some(FileKind::Ring) => Err(Error::NotPlain { path: path.into(), found: FileKind::Ring }),
        Some(_) => sealed(path),
    }
}

/// Opens a mapped file that is sealed, up to the checksum of its data, for which it has to be read: see [`Checked::compare`].
pub(super) fn sealed(path: &Path) -> Result<Checked, Error> {
    let kind = FileKind::Mapped;
    let (file, file_bytes) = file::open_regular(path, kind, false)?;
    let header = file::recognise(&file, file_bytes, path, &MappedFile(kind))?;
    let seal = match seal_of(&file, &header, path)? {
        // The sealer stores the state last, but a copy is made in any order: one that was made too early is followed by one that was not.
        Err(_) => seal_of(&file, &header, path)?,
        first => first,
    };
    let corrupt = |malformed| match malformed {
        Malformed::Field { what, expected, found } => {
            Error::Corrupt { path: path.into(), what, expected, found }
        }
        Malformed::Magic { .. } | Malformed::Version { .. } => unreachable!("a seal has neither"),
    };
    let Some(seal) = seal.map_err(corrupt)? else {
        return Err(Error::NotSealed { path: path.into() });
    };
    let len = seal.len_bytes;
    if let Kind::Ranged { size_bytes, .. } = header.kind {
        if len != size_bytes {
            let (expected, found) = (size_bytes.to_string(), len.to_string());
            return Err(Error::Corrupt { path: path.into(), what: "length in the seal", expected, found });
        }
    }
    let start = header.extent.data_offset;
    // A length that wraps around is longer than any file.
    let expected_bytes = start.saturating_add(len);
    if file_bytes < expected_bytes {
        return Err(Error::Truncated { kind, path: path.into(), expected_bytes, found_bytes: file_bytes });
    }
    Ok(Checked { file, start, len, kind, crc: Some(seal.data_crc) })
}

fn seal_of(file: &File, header: &Header, path: &Path) -> Result<Result<Option<Seal>, Malformed>, Error> {
    let mut live = [0; LIVE_BYTES];
    // The header was compared with the file's length, so the page is there unless it was cut just now.
    file.read_exact_at(&mut live, header.extent.live_offset).map_err(io_error("read the seal of", path))?;
    Ok(Seal::from_page(&live, &header.uuid))
}

/// What a file begins as, if it is one that this library's own handles write while others look.
fn kind_of(file: &File) -> io::Result<Option<FileKind>> {
    let mut magic = [0; 8];
    if file::read_at_most(file, &mut magic, 0)? < magic.len() {
        return Ok(None);
    }
    Ok(match magic {
        header::MAGIC => Some(FileKind::Ring),
        mapped::MAGIC_APPEND => Some(FileKind::Append),
        mapped::MAGIC_RANGED => Some(FileKind::Ranged),
        _ => None,
    })
}

impl Checked {
    /// Refuses to have it mapped where others could change it under a slice.
    pub(super) fn may_be_mapped(&self, path: &Path) -> Result<(), Error> {
        refuse_network(&self.file, path, self.kind)?;
        file::check_reader(&self.file, path, self.kind)?;
        if self.kind != FileKind::Plain {
            // Sealed: nobody opens it for writing any more.
            return Ok(());
        }
        match kind_of(&self.file).map_err(io_error("read", path))? {
            Some(found) => Err(Error::NotPlain { path: path.into(), found }),
            None => Ok(()),
        }
    }

    /// Whether it may be mapped, of one that is known to be no file that others write while it is read; `is_local` is told how to ask where it is.
    pub(crate) fn may_be_mapped_by(
        &self,
        path: &Path,
        found: &Metadata,
        is_local: impl FnOnce(&dyn Fn() -> Result<(), Error>) -> Result<(), Error>,
    ) -> bool {
        file::check_reader_of(found, path, self.kind).is_ok()
            && is_local(&|| refuse_network(&self.file, path, self.kind)).is_ok()
    }

    /// Compares the checksum that was promised, if one was, with that of the bytes.
    pub(super) fn compare(
        &self,
        path: &Path,
        compute: impl FnOnce() -> Result<u32, ReadError>,
    ) -> Result<(), Error> {
        let Some(promised) = self.crc else { return Ok(()) };
        let found = match compute() {
            Ok(found) => found,
            Err(ReadError::Io { errno, .. }) => {
                return Err(io_error("read", path)(io::Error::from_raw_os_error(errno)));
            }
            // All of it was there a moment ago.
            Err(ReadError::OutOfBounds { .. } | ReadError::Truncated { .. }) => {
                let found_bytes = self.file.metadata().map_err(io_error("examine", path))?.len();
                let (kind, expected_bytes) = (self.kind, self.start + self.len);
                return Err(Error::Truncated { kind, path: path.into(), expected_bytes, found_bytes });
            }
        };
        if found != promised {
            let (expected, found) = (format!("{promised:#010x}"), format!("{found:#010x}"));
            return Err(Error::Corrupt { path: path.into(), what: "checksum of the data", expected, found });
        }
        Ok(())
    }
}

/// The crc32c of all bytes, by copies.
pub(super) fn checksum(snapshot: &FileSnapshot) -> Result<u32, ReadError> {
    let len = snapshot.len();
    let mut buf = vec![0; PIECE_BYTES.min(usize::try_from(len).unwrap_or(PIECE_BYTES))];
    let (mut offset, mut crc) = (0, 0);
    while offset < len {
        let piece = usize::try_from(len - offset).map_or(buf.len(), |left| left.min(buf.len()));
        snapshot.read_exact_at(offset, &mut buf[..piece])?;
        crc = crc32c::crc32c_append(crc, &buf[..piece]);
        offset += piece as u64;
    }
    Ok(crc)
}
