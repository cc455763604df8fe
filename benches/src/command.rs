//! Command: what the benches' programs do with their arguments and with what they have to say.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A number, or why it is none.
pub fn number(text: &str) -> Result<usize, String> {
    text.trim().parse().map_err(|error| format!("{text}: {error}"))
}

/// A file, where one was asked for.
pub fn write(path: Option<&PathBuf>, text: impl FnOnce() -> String) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, text()).map_err(|error| format!("{}: {error}", path.display()))
}

/// Data, to stdout.
pub fn print(text: &str) -> ExitCode {
    // Nobody reads any more: nothing to be told.
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// A message, to stderr, under the program's name.
pub fn fail(text: &str, code: u8) -> ExitCode {
    let program = std::env::args().next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default().to_string_lossy();
    // Cargo appends a hash.
    eprintln!("{}: {text}", name.split('-').next().unwrap_or_default());
    ExitCode::from(code)
}
