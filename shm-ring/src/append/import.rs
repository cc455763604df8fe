//! Import: the bytes of a legacy append file, of which the writer is gone.
//!
//! ```text
//!  byte 0            4           8                  8 + size       end of the file
//!       +------------+-----------+------------------+---------------+
//!       | 0xdeadbeef | size u32  | data             | never used    |
//!       +------------+-----------+------------------+---------------+
//! ```
//!
//! (I1) the size is believed only as far as the file is long; (I2) the file is read, never mapped and never written.
//! Takes the size for what it says: of a file that had outgrown 2^32 bytes, its writers had lost count.

use super::AppendFile;
use super::error::AppendError;
use crate::error::{Error, FileKind};
use crate::layout::mapped::MAGIC_LEGACY;
use crate::map::file::{self, io_error};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const HEADER_BYTES: u64 = 8;
const CHUNK_BYTES: u64 = 1 << 20;

/// A legacy file that was recognised.
#[derive(Debug)]
pub(super) struct Legacy {
    file: File,
    path: PathBuf,
    len_bytes: u64,
}

impl Legacy {
    /// Opens and checks it.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let (file, found_bytes) = file::open_regular(path, FileKind::Legacy, false)?;
        let mut header = [0; 8];
        let n = file::read_at_most(&file, &mut header, 0).map_err(io_error("read", path))?;
        if n < 4 || header[..4] != MAGIC_LEGACY {
            return Err(file::not_wanted(path.to_path_buf(), FileKind::Legacy, &header[..n]));
        }
        let truncated = |expected_bytes| Error::Truncated {
            kind: FileKind::Legacy,
            path: path.to_path_buf(),
            expected_bytes,
            found_bytes,
        };
        if n < header.len() {
            return Err(truncated(HEADER_BYTES));
        }
        let size = u32::from_le_bytes(header[4..].try_into().expect("the slice has 4 bytes"));
        let len_bytes = u64::from(size);
        if HEADER_BYTES + len_bytes > found_bytes {
            return Err(truncated(HEADER_BYTES + len_bytes));
        }
        Ok(Self { file, path: path.to_path_buf(), len_bytes })
    }

    /// Bytes of data.
    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Pushes all of it.
    pub(super) fn copy_into(&self, to: &AppendFile) -> Result<(), Error> {
        let failed = io_error("import", &self.path);
        let length = usize::try_from(self.len_bytes.min(CHUNK_BYTES)).expect("at most a MiB");
        let mut chunk = vec![0; length];
        let mut at = 0;
        while at < self.len_bytes {
            let length = usize::try_from((self.len_bytes - at).min(CHUNK_BYTES)).expect("at most a MiB");
            self.file.read_exact_at(&mut chunk[..length], HEADER_BYTES + at).map_err(&failed)?;
            to.push(&chunk[..length]).map_err(|error: AppendError| failed(io::Error::other(error)))?;
            at += length as u64;
        }
        Ok(())
    }
}
