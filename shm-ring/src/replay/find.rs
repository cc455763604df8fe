//! Find: what there is to open below a directory.
//!
//! | what | is |
//! |------|----|
//! | a directory with a file CURRENT | a log; nothing in it is looked at |
//! | `*.seg` elsewhere | a segment |
//! | `*.arrow`, `*.feather` | a table |
//! | `*.ring` | a ring |
//!
//! (I1) no symbolic link is followed; (I2) what can't be listed is an error that names it.
//! Opens nothing.

use crate::error::Error;
use crate::log::names::{self, Name};
use crate::map::file::io_error;
use std::path::{Path, PathBuf};

/// All of it, by name.
pub(super) fn find(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let (mut found, mut left) = (vec![], vec![directory.to_path_buf()]);
    while let Some(directory) = left.pop() {
        let (mut files, mut is_log) = (vec![], false);
        for entry in std::fs::read_dir(&directory).map_err(io_error("list", &directory))? {
            let entry = entry.map_err(io_error("list", &directory))?;
            let kind = entry.file_type().map_err(io_error("examine", &entry.path()))?;
            let name = entry.file_name();
            // What is no text in it is in no name that is looked for.
            let name = name.to_string_lossy();
            if kind.is_dir() {
                files.push((entry.path(), true));
            } else if kind.is_file() {
                is_log |= name == names::CURRENT;
                if is_source(&name) {
                    files.push((entry.path(), false));
                }
            }
        }
        if is_log {
            found.push(directory);
            continue;
        }
        for (path, is_directory) in files {
            if is_directory { left.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

fn is_source(name: &str) -> bool {
    let is_spare = matches!(Name::of(name), Name::Spare(_) | Name::Aside | Name::Temporary);
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    !is_spare && matches!(extension, "seg" | "arrow" | "feather" | "ring")
}
