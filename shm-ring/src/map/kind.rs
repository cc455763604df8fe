//! Kind: what a file is, by how it begins.
//!
//! (I1) eight bytes are read, and nothing is changed.
//! Says nothing of whether the rest is as it must be: that is for who opens it.

use super::file::{self, io_error};
use crate::error::{Error, FileKind};
use crate::layout::{header, mapped, table};
use std::path::Path;

impl FileKind {
    /// What the file at `path` says that it is, by its first bytes: [`Ring`](Self::Ring), [`Append`](Self::Append),
    /// [`Ranged`](Self::Ranged), [`Legacy`](Self::Legacy), [`Table`](Self::Table), or else [`Plain`](Self::Plain). Whether it is sound is seen when it is opened as
    /// that.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`], [`Error::NotRegular`], [`Error::Io`].
    ///
    /// # Examples
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("file");
    /// use shm_ring::{AppendFile, AppendOptions, FileKind, Ring};
    ///
    /// AppendOptions::new().create(&path)?;
    /// match FileKind::of(&path)? {
    ///     FileKind::Ring => drop(Ring::open_observer(&path)?),
    ///     FileKind::Append => assert!(AppendFile::inspect(&path)?.len_bytes == 0),
    ///     other => println!("a {other}"),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let (file, _) = file::open_regular(path, Self::Plain, false)?;
        let mut begins = [0; 8];
        let n = file::read_at_most(&file, &mut begins, 0).map_err(io_error("read", path))?;
        let begins = &begins[..n];
        Ok(match () {
            () if begins == header::MAGIC => Self::Ring,
            () if begins == mapped::MAGIC_APPEND => Self::Append,
            () if begins == mapped::MAGIC_RANGED => Self::Ranged,
            () if begins.starts_with(&mapped::MAGIC_LEGACY) => Self::Legacy,
            () if begins.starts_with(&table::MAGIC) => Self::Table,
            () => Self::Plain,
        })
    }
}
