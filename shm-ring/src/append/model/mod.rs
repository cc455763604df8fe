//! Append, as the model checkers run it: the protocol's own file, and a small world around it. See `docs/models.md`.

#[path = "../publish.rs"]
mod publish;

#[cfg(test)]
mod losing;
