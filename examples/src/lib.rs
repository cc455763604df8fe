//! Nothing here: the files beside this folder are the examples. `cargo run -p examples --example NAME`.
