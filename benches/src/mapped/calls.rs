//! Calls: the system calls of pushes into resident pages and of writes of ranges, of which there must be none.
//!
//! This program runs itself again under `strace`, which sees a word on stdout before and after the loop, and nothing else if all is well.

use std::hint::black_box;
use std::path::Path;

use shm_ring::{AppendOptions, RangedOptions};

use super::{Fact, Plan, Results, failed};
use crate::report::verdict::{Limit, Target};
use crate::turns::trace::{NO_STRACE, between, said_between, trace};

/// The argument under which a program hands over to [`child`].
pub const ARGUMENT: &str = "--calls";
const N: usize = 100_000;
const FACTS: [(&str, &str, &str); 2] = [
    ("calls/push/ours", "pushes", "system calls of 100,000 pushes of 100 B into resident pages"),
    ("calls/write/ours", "writes", "system calls of 100,000 ranges of 64 B, allocated and written"),
];

/// What is traced.
pub fn child(directory: &Path) -> Result<(), String> {
    let file = AppendOptions::new().capacity(100 * N as u64).create(directory.join("pushed"));
    let file = file.map_err(failed("create an append file"))?;
    let ranged = RangedOptions::new().create(directory.join("written"), 64 * N as u64);
    let ranged = ranged.map_err(failed("create a ranged file"))?;
    between("pushes", || (0..N).try_for_each(|_| file.push(black_box(&[7; 100])).map(drop)))?;
    between("writes", || {
        (0..N).try_for_each(|_| {
            let range = ranged.allocate(64).map_err(|error| error.to_string())?;
            ranged.write(range, black_box(&[7; 64])).map(drop).map_err(|refused| refused.error.to_string())
        })
    })
}

pub(super) fn facts(plan: &Plan) -> Result<Vec<Fact>, String> {
    let directory = plan.directory.join("calls");
    std::fs::create_dir(&directory).map_err(failed("create a directory"))?;
    let args = [ARGUMENT.as_ref(), directory.as_os_str()];
    let trace = trace(&directory.join("trace"), args)?.unwrap_or_default();
    std::fs::remove_dir_all(&directory).map_err(failed("remove"))?;
    let fact = |(name, what, text)| Fact::exact(name, text, count(&trace, what));
    Ok(FACTS.map(fact).into())
}

/// Calls between the two words.
fn count(trace: &str, what: &str) -> Result<f64, &'static str> {
    said_between(trace, what).map(|(_, lines)| lines.len() as f64).ok_or(NO_STRACE)
}

pub(super) fn targets(results: &Results) -> Vec<Target> {
    FACTS.map(|(name, ..)| results.count(name, "-", Limit::AtMost(0.0))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lies between the words counts, and without the words there is no figure.
    #[test]
    fn calls_between_the_words_are_counted() {
        let trace = "1 brk(0)\n1 write(1, \"@begin pushes\\n\", 14) = 14\n1 futex()\n1 write(1, \"@end pushes\\n\", 12) = 12\n";
        assert_eq!(count(trace, "pushes"), Ok(1.0));
        assert_eq!(count(trace, "writes"), Err(NO_STRACE));
    }
}
