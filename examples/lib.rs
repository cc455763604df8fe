//! Nothing here: each other file of this folder is an example. `cargo run -p examples --example NAME`.
