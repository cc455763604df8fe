//! Log: an endless log in segments.

#[cfg(test)]
mod crash;
