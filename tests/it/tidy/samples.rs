//! Samples: each checker of [`super`] refuses what it is for, names the line, and lets the right thing pass.
//!
//! (I1) samples stand in quotes, so that the checkers do not find them in this file.
//! Reads no file.

use super::*;

/// Fails unless the checker complains about exactly these lines.
fn complains(complaints: &[String], at_lines: &[usize]) {
    let found: Vec<usize> =
        complaints.iter().map(|text| text.split(':').nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(found, at_lines, "{complaints:#?}");
}

#[test]
fn comments_and_quotes_are_not_code() {
    // Goal: a rule about code is not tripped, and not silenced, by prose.
    // Method: every kind of comment and literal around one visible name each, then the words that remain.
    let text = r####"a /* x /* y */ z */ b // unsafe {
c("unsafe { \" // no", 'x', '\'', '\u{1F600}', b'"', r#"raw " \"#, br"\", c"z") 'd: e::<'f, g>
"two \
lines" h r#i"####;
    let found: Vec<_> =
        words(&lines(text)).into_iter().filter(|word| word.text.len() == 1).map(|word| word.text).collect();
    let names: String = found.concat().chars().filter(char::is_ascii_alphabetic).collect();
    assert_eq!(names, "abcbrcdefghri");
    assert_eq!(words(&lines(text)).last().unwrap().line, 4);
    assert!(lines(text)[0].comment.ends_with("unsafe {"));
}

#[test]
fn groups_of_a_use_are_written_out() {
    // Goal: no import hides in braces.
    // Method: nested groups over two lines, a rename, a glob, a turbofish.
    let found =
        paths_from("a", &words(&lines("use a::{b::{self as s, c}, d::*,\n e}; a::f::<G>(); a::H { i }")));
    let found: Vec<_> = found.into_iter().map(|(line, path)| format!("{line} {}", path.join("::"))).collect();
    assert_eq!(found, ["1 a::b::self", "1 a::b::c", "1 a::d::*", "2 a::e", "2 a::f", "2 a::H"]);
}

#[test]
fn a_missing_header_is_seen() {
    // Goal: see `every_library_file_opens_with_a_header`. Method: a comment of the wrong kind, and a header.
    complains(&no_header("a.rs", "// Ring\n//! late"), &[1]);
    complains(&no_header("a.rs", ""), &[1]);
    complains(&no_header("a.rs", "//! Ring: a ring.\n"), &[]);
}

#[test]
fn a_long_file_is_seen() {
    // Goal: see `no_file_outgrows_a_head`. Method: one line too many, and none.
    complains(&outgrown("a.rs", &"\n".repeat(HEAD_LINES + 1)), &[HEAD_LINES]);
    complains(&outgrown("a.rs", &"\n".repeat(HEAD_LINES)), &[]);
}

#[test]
fn a_foreign_atomic_is_seen() {
    // Goal: see `atomics_come_through_sync`. Method: the ways to write it, in a folder that may not and in those that may.
    let bad = "use std::sync::atomic::AtomicU32;\nuse std::{io, sync::{Arc, atomic::{AtomicU64, Ordering}}};\n\
               core::sync::atomic::fence(o);\nuse std::sync::atomic;";
    complains(&foreign_atomics("shm-ring/src/ring/wait.rs", bad), &[1, 2, 3, 4]);
    complains(&foreign_atomics("shm-ring/src/lib.rs", bad), &[1, 2, 3, 4]);
    complains(&foreign_atomics("shm-ring/src/sync.rs", bad), &[]);
    complains(&foreign_atomics("shm-ring/src/map/fork.rs", bad), &[]);
    let good = "use crate::sync::{AtomicU32, Ordering};\nuse std::sync::Arc; // not std::sync::atomic";
    complains(&foreign_atomics("shm-ring/src/ring/wait.rs", good), &[]);
}

#[test]
fn an_import_upwards_is_seen() {
    // Goal: see `no_library_file_looks_up`. Method: up, sideways, through lib.rs, from an unknown module; then all that is allowed.
    complains(&looks_up("shm-ring/src/layout/header.rs", "use crate::map::region;"), &[1]);
    complains(&looks_up("shm-ring/src/frame/view.rs", "\nfn f() { crate::ring::g() }"), &[2]);
    complains(&looks_up("shm-ring/src/ring/mod.rs", "use crate::{frame::view,\n codec::plain};"), &[2]);
    complains(&looks_up("shm-ring/src/error.rs", "use crate::sync::Ordering;"), &[1]);
    complains(&looks_up("shm-ring/src/map/file.rs", "use crate::Error;\nuse crate::*;"), &[1, 2]);
    complains(&looks_up("shm-ring/src/util.rs", ""), &[1]);
    let good = "use crate::{sync::Ordering, frame::{claim, view}};\nuse crate::ring::wait; // crate::codec\nuse super::reap;";
    complains(&looks_up("shm-ring/src/ring/mod.rs", good), &[]);
    complains(&looks_up("shm-ring/src/lib.rs", "pub use crate::replay::Merge;"), &[]);
}

#[test]
fn an_unargued_unsafe_is_seen() {
    // Goal: see `every_unsafe_is_argued`. Method: no comment, one too far away, one in a string; then near, long, and on the line.
    complains(&unargued_unsafe("a.rs", "let a = unsafe { b };\n\nunsafe\nimpl Send for A {}"), &[1, 3]);
    complains(&unargued_unsafe("a.rs", &format!("// SAFETY: far.{}unsafe {{}}", "\n".repeat(9))), &[10]);
    complains(&unargued_unsafe("a.rs", "f(\"SAFETY\");\nunsafe { b }"), &[2]);
    complains(&unargued_unsafe("a.rs", "// UNSAFETY\nunsafe { b }"), &[2]);
    complains(&unargued_unsafe("a.rs", &format!("// SAFETY: near.{}unsafe {{}}", "\n".repeat(8))), &[]);
    complains(
        &unargued_unsafe("a.rs", &format!("// SAFETY:\n{}\nunsafe {{ b }}", "// - more;\n".repeat(20))),
        &[],
    );
    complains(
        &unargued_unsafe(
            "a.rs",
            "/* SAFETY: here. */ unsafe { b }\nunsafe fn f();\n// unsafe {\n\"unsafe {\"",
        ),
        &[],
    );
}

#[test]
fn an_unpaired_ordering_is_seen() {
    // Goal: see `every_strong_ordering_names_its_partner`. Method: each strong one bare, bare names; then argued and relaxed ones.
    for ordering in ["Acquire", "Release", "AcqRel", "SeqCst"] {
        complains(&unpaired_orderings("a.rs", &format!("\na.load(Ordering::{ordering})")), &[2]);
        complains(
            &unpaired_orderings(
                "a.rs",
                &format!("// ORDER C1 (pairs with P1): b.\na.load(Ordering::{ordering})"),
            ),
            &[],
        );
    }
    complains(&unpaired_orderings("a.rs", "use Ordering::{Acquire, Release};\nuse Ordering::*;"), &[1, 2]);
    complains(&unpaired_orderings("a.rs", "// REORDERED\na.load(Ordering::Acquire)"), &[2]);
    complains(
        &unpaired_orderings("a.rs", "a.load(Ordering::Relaxed); Ordering::Less; // Ordering::SeqCst"),
        &[],
    );
}

#[test]
fn a_test_file_without_a_mod_is_seen() {
    // Goal: see `no_test_file_is_left_out`. Method: a file, a folder and a file in a folder, each mentioned in a comment only.
    let tree = |main: &str, inner: &str| {
        [
            ("main.rs", main),
            ("fork.rs", ""),
            ("wait/mod.rs", inner),
            ("wait/block.rs", ""),
            ("kill.rs", inner),
            ("kill/hard.rs", ""),
        ]
        .map(|(path, text)| (format!("tests/it/{path}"), text.to_string()))
    };
    let seen = |files: &[(String, String)]| {
        unmounted(files).iter().map(|c| c.split(':').next().unwrap().to_string()).collect::<Vec<_>>()
    };
    let all = ["fork.rs", "wait/mod.rs", "wait/block.rs", "kill.rs", "kill/hard.rs"]
        .map(|path| format!("tests/it/{path}"));
    assert_eq!(seen(&tree("//! x\n// mod fork; mod wait; mod kill;", "// mod block;")), all);
    assert_eq!(
        seen(&tree("mod fork;\n#[cfg(x)]\nmod wait;\npub mod kill;", "mod block; mod hard;")),
        [""; 0]
    );
}

#[test]
fn an_unlisted_example_is_seen() {
    // Goal: see `no_example_is_left_out`. Method: missing, under another's name, switched off; then listed and discovered.
    let files =
        ["examples/hello.rs", "examples/examples/found.rs", "examples/src/lib.rs", "tests/it/main.rs"]
            .map(String::from);
    let off = "[package]\nautoexamples = false\n";
    let listed = "[[example]]\nname = \"hello\"\npath = \"hello.rs\"\n";
    let misnamed = "[[example]]\nname = \"other\"\npath = \"hello.rs\"\n[[example]]\nname = \"hello\"\npath = \"other.rs\"\n";
    assert_eq!(unlisted_examples(off, &files).len(), 2);
    assert_eq!(unlisted_examples("", &files).len(), 1);
    assert_eq!(unlisted_examples(misnamed, &files).len(), 1);
    assert_eq!(unlisted_examples(&format!("# {listed}"), &files).len(), 1);
    complains(&unlisted_examples(listed, &files), &[]);
}

#[test]
fn an_undone_word_is_seen() {
    // Goal: see `nothing_is_left_undone`. Method: each word in a comment and in a manifest; then parts of other words.
    let text = concat!("// TO", "DO: later\n# FIX", "ME\nlet x = 1; /* X", "XX */");
    complains(&undone("a.rs", text), &[1, 2, 3]);
    complains(&undone("a.rs", "todo = \"deny\"\nmkstemp(\"ringXXXXXX\")"), &[]);
}

#[test]
fn a_machine_path_is_seen() {
    // Goal: see `no_path_of_a_machine_is_named`. Method: quoted, assigned and bare ones; then paths and addresses that only look alike.
    let text = concat!("open(\"/wo", "rk/a\")\nX=/ro", "ot/b\ncd /wo", "rk/main\nfile:///ro", "ot/c");
    complains(&machine_paths("a.rs", text), &[1, 2, 3, 4]);
    complains(
        &machine_paths(
            "a.rs",
            concat!("frame/wo", "rk/a\nhttps://example.org/wo", "rk/\n$ROOT/ro", "ot/ ${x}/wo", "rk/"),
        ),
        &[],
    );
}

#[test]
fn another_bincode_is_seen() {
    // Goal: see `bincode_is_pinned_to_two`. Method: each way to require it, open, newer and renamed; a newer one in the lock file.
    let bad = "[dependencies]\nbincode = \"3\"\nbincode = { features = [\"std\"], version = \">=2\" }\nbincode = \"*\"\n\
               b = { package = \"bincode\", version = \"1.3\" }\nbincode.version = \"20\"\n[target.x.dev-dependencies.bincode]\nversion = \"3\"";
    complains(&bincode_not_two("a/Cargo.toml", bad), &[2, 3, 4, 5, 6, 8]);
    let good = "[features]\nbincode = [\"dep:bincode\"]\n[dependencies]\nbincode = { version = \"2.0.1\" }\nbincode = \"=2.0.1\"\n\
                # bincode = \"3\"\nbincode = { workspace = true }\nserde = { version = \"1\" }";
    complains(&bincode_not_two("Cargo.toml", good), &[]);
    let lock = "[[package]]\nname = \"bincode\"\nversion = \"3.0.0\"\n[[package]]\nname = \"serde\"\nversion = \"1.0.0\"";
    complains(&bincode_not_two("Cargo.lock", lock), &[3]);
    complains(&bincode_not_two("Cargo.lock", &lock.replace("3.0.0", "2.0.1")), &[]);
    complains(&bincode_not_two("Cargo.lock", &lock.replace("3.0.0", "1.3.3")), &[]);
}
