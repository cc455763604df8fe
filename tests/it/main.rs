//! The library's promises, one module each; other processes are this binary run again.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod tidy;
