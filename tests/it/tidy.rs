//! Tidy: the rules of the house that a reader of text can hold.
//!
//! ```text
//!   tracked files --> lines (code | comment) --> words --> one checker per rule --> "file:line: what; what to do"
//! ```
//!
//! Each rule is two tests: one runs its checker over the tree, one shows that the checker refuses a bad sample. Checkers are pure:
//! path and text in, complaints out.
//!
//! (I1) what stands in a comment or in quotes is never taken for code; (I2) a rule about a folder that does not exist yet holds.
//! Does not parse Rust: `super::` paths, macros and renamed imports go unseen, a reviewer has to see them.

mod samples;
mod tables;
mod text;

use text::{
    Line, Word, has_word, lines, paths_from, root, rust_under, texts, toml, tracked, unquoted, words,
};

const LIBRARY: &str = "shm-ring/src/";
const HEADS: [&str; 3] = [LIBRARY, "shm-ring/cli/src/", "benches/src/"];
const HEAD_LINES: usize = 600;
/// How far above a line its argument may stand; a comment that begins inside counts whole.
const ARGUMENT_LINES: usize = 8;
/// Bottom to top. A file uses what is below its own layer, and nothing beside it.
const LAYERS: [&[&str]; 7] = [
    &["sync", "error"],
    &["layout"],
    &["map"],
    &["frame"],
    &["ring", "codec", "append", "ranges", "log", "snapshot"],
    &["typed", "record", "replay"],
    &["lib"],
];

#[test]
fn every_library_file_opens_with_a_header() {
    // Goal: whoever opens a file of the library reads first what it is, its invariants, and what it does not do.
    // Method: the first line of every file under shm-ring/src is a `//!` line.
    hold_for_each(rust_under(&[LIBRARY]), no_header);
}

#[test]
fn no_file_outgrows_a_head() {
    // Goal: every file can be read in one sitting.
    // Method: count the lines of the library's, the tool's and the benchmarks' sources.
    hold_for_each(rust_under(&HEADS), outgrown);
}

#[test]
fn atomics_come_through_sync() {
    // Goal: a model checker that swaps the atomics of `sync.rs` swaps all of the protocol's.
    // Method: no library file outside sync.rs and map/ names `sync::atomic` of std, core or anybody else.
    hold_for_each(rust_under(&[LIBRARY]), foreign_atomics);
}

#[test]
fn no_library_file_looks_up() {
    // Goal: a layer can be understood, tested and replaced without those above it; siblings without each other.
    // Method: the first segment of every `crate::` path is in a lower layer than the file, or in the file's own module.
    hold_for_each(rust_under(&[LIBRARY]), looks_up);
}

#[test]
fn every_unsafe_is_argued() {
    // Goal: no unsafe operation without the argument that makes it sound.
    // Method: a comment that says SAFETY stands closely above every unsafe block and impl in the workspace.
    hold_for_each(rust_under(&[""]), unargued_unsafe);
}

#[test]
fn every_strong_ordering_names_its_partner() {
    // Goal: no barrier whose other half nobody can find.
    // Method: a comment that says ORDER stands closely above every ordering of the library that is stronger than Relaxed.
    hold_for_each(rust_under(&[LIBRARY]), unpaired_orderings);
}

#[test]
fn no_test_file_is_left_out() {
    // Goal: a test that is written is a test that runs.
    // Method: every file under tests/it is a `mod` of main.rs, or of the file of the folder that it is in.
    let files: Vec<_> = rust_under(&["tests/it/"]);
    assert!(
        files.iter().any(|(path, _)| path == "tests/it/main.rs"),
        "tests/it/main.rs: not found below {:?}",
        root()
    );
    hold(unmounted(&files));
}

#[test]
fn no_example_is_left_out() {
    // Goal: every example compiles and runs in CI.
    // Method: examples/Cargo.toml lists every examples/*.rs under the name of its file.
    let manifest = texts().into_iter().find(|(path, _)| path == "examples/Cargo.toml");
    hold(unlisted_examples(&manifest.map(|(_, text)| text).unwrap_or_default(), &tracked()));
}

#[test]
fn nothing_is_left_undone() {
    // Goal: what is missing stands in an issue, where somebody looks for it.
    // Method: look for the three words in every tracked text.
    hold_for_each(texts(), undone);
}

#[test]
fn no_path_of_a_machine_is_named() {
    // Goal: the project works, and reads, the same on every machine.
    // Method: look for the absolute paths of build machines in every tracked text.
    hold_for_each(texts(), machine_paths);
}

#[test]
fn bincode_is_pinned_to_two() {
    // Goal: no careless upgrade lands on bincode 3, which does not compile.
    // Method: every requirement in a manifest begins with 2, and the lock file has no later major version. (A rival of the
    // benches brings 1 along, which compiles.)
    hold_for_each(texts(), bincode_not_two);
}

/// Runs a checker over files and fails with all its complaints.
fn hold_for_each(files: Vec<(String, String)>, checker: fn(&str, &str) -> Vec<String>) {
    hold(files.iter().flat_map(|(path, text)| checker(path, text)).collect());
}

fn hold(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{} to mend:\n  {}\n", complaints.len(), complaints.join("\n  "));
}

fn no_header(path: &str, text: &str) -> Vec<String> {
    if text.starts_with("//!") {
        return vec![];
    }
    vec![format!(
        "{path}:1: no header; open with `//! Name: what it is`, its invariants, and what it does not do"
    )]
}

fn outgrown(path: &str, text: &str) -> Vec<String> {
    let n_lines = text.lines().count();
    if n_lines <= HEAD_LINES {
        return vec![];
    }
    vec![format!(
        "{path}:{HEAD_LINES}: {n_lines} lines, {HEAD_LINES} fit a head; move one idea into a file of its own"
    )]
}

fn foreign_atomics(path: &str, text: &str) -> Vec<String> {
    if matches!(module_of(path), Some("sync" | "map")) {
        return vec![];
    }
    let mut found: Vec<_> = paths_from("sync", &words(&lines(text)))
        .into_iter()
        .filter(|(_, segments)| segments.get(1).is_some_and(|segment| segment == "atomic"))
        .map(|(line, _)| format!("{path}:{line}: an atomic from elsewhere; import it from crate::sync"))
        .collect();
    found.dedup();
    found
}

fn looks_up(path: &str, text: &str) -> Vec<String> {
    let Some(own) = module_of(path) else { return vec![] };
    if own == "lib" {
        return vec![];
    }
    let Some(own_layer) = layer_of(own) else {
        return vec![format!(
            "{path}:1: module `{own}` is in no layer; add it to LAYERS in tests/it/tidy.rs"
        )];
    };
    let mut found = vec![];
    for (line, segments) in paths_from("crate", &words(&lines(text))) {
        let used = segments[1].as_str();
        let complaint = match layer_of(used) {
            _ if used == own => continue,
            None => "goes through lib.rs, which is above; name the module that defines it",
            Some(layer) if layer > own_layer => "looks up; move what both need down, or the caller up",
            Some(layer) if layer == own_layer => "looks at a sibling; move what both need one layer down",
            Some(_) => continue,
        };
        found.push(format!("{path}:{line}: `{}` {complaint}", segments.join("::")));
    }
    found
}

fn unargued_unsafe(path: &str, text: &str) -> Vec<String> {
    let lines = lines(text);
    let words = words(&lines);
    let opens = |pair: &&[Word]| pair[0].text == "unsafe" && matches!(pair[1].text.as_str(), "{" | "impl");
    words
        .windows(2)
        .filter(opens)
        .filter(|pair| !argued(&lines, pair[0].line, "SAFETY"))
        .map(|pair| {
            format!(
                "{path}:{}: unsafe without `SAFETY` above; argue every obligation, a bullet each",
                pair[0].line
            )
        })
        .collect()
}

fn unpaired_orderings(path: &str, text: &str) -> Vec<String> {
    let lines = lines(text);
    let mut found = vec![];
    for three in words(&lines).windows(3).filter(|three| three[0].text == "Ordering" && three[1].text == "::")
    {
        let (line, ordering) = (three[0].line, three[2].text.as_str());
        match ordering {
            "Acquire" | "Release" | "AcqRel" | "SeqCst" if !argued(&lines, line, "ORDER") => {
                found.push(format!(
                    "{path}:{line}: {ordering} without `ORDER` above; name its label, its partner and what is carried"
                ));
            }
            "{" | "*" => found.push(format!(
                "{path}:{line}: orderings by their bare names; write Ordering::X where it is used"
            )),
            _ => {}
        }
    }
    found
}

fn unmounted(files: &[(String, String)]) -> Vec<String> {
    let mut found = vec![];
    for (path, _) in files.iter().filter(|(path, _)| path != "tests/it/main.rs") {
        let place = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let Some((folder, module)) = place.rsplit_once('/') else { continue };
        let owners = match folder {
            "tests/it" => vec!["tests/it/main.rs".into()],
            _ => vec![format!("{folder}.rs"), format!("{folder}/mod.rs")],
        };
        let mounts = |text: &str| {
            words(&lines(text))
                .windows(3)
                .any(|three| three[0].text == "mod" && three[1].text == module && three[2].text == ";")
        };
        if !files.iter().any(|(owner, text)| owners.contains(owner) && mounts(text)) {
            found.push(format!(
                "{path}:1: in no test target, never run; add `mod {module};` to {}",
                owners.join(" or ")
            ));
        }
    }
    found
}

fn unlisted_examples(manifest: &str, tracked: &[String]) -> Vec<String> {
    let entries = toml(manifest);
    let of = |table, key: &str| {
        entries.iter().find(|e| e.table == table && e.key == key).map(|e| unquoted(&e.value))
    };
    let listed: Vec<_> = entries
        .iter()
        .filter(|e| e.section == "example" && e.key == "path")
        .map(|e| (of(e.table, "name"), unquoted(&e.value)))
        .collect();
    let is_listed = |file: &str| {
        let stem = file.trim_end_matches(".rs").rsplit('/').next();
        listed.iter().any(|(name, path)| *path == file && *name == stem)
    };
    let are_found =
        !entries.iter().any(|e| e.section == "package" && e.key == "autoexamples" && e.value == "false");
    let mut found = vec![];
    for file in
        tracked.iter().filter_map(|path| path.strip_prefix("examples/")).filter(|file| file.ends_with(".rs"))
    {
        // cargo looks for examples in the package's own `examples/` only, and this package is that folder's parent.
        let is_covered = match file.rsplit_once('/') {
            None => is_listed(file),
            Some(("examples", _)) => are_found || is_listed(file),
            Some(_) => true,
        };
        if !is_covered {
            found.push(format!("examples/{file}:1: never built; add [[example]] with its name and path to examples/Cargo.toml"));
        }
    }
    found
}

fn undone(path: &str, text: &str) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let mut found = vec![];
    for (n, line) in text.lines().enumerate() {
        for mark in marks.iter().filter(|mark| has_word(line, mark)) {
            found.push(format!(
                "{path}:{}: {mark}; do it, or open an issue and say here what holds today",
                n + 1
            ));
        }
    }
    found
}

fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let machine = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let starts_here =
        |before: &str| !before.ends_with(|c: char| c.is_alphanumeric() || "_-.~})>*".contains(c));
    let mut found = vec![];
    for (n, line) in text.lines().enumerate() {
        for prefix in machine
            .iter()
            .filter(|prefix| line.match_indices(**prefix).any(|(at, _)| starts_here(&line[..at])))
        {
            found.push(format!(
                "{path}:{}: {prefix} exists on one machine only; make the path relative or take it as an argument",
                n + 1
            ));
        }
    }
    found
}

fn bincode_not_two(path: &str, text: &str) -> Vec<String> {
    let (is_lock, is_manifest) = (path.ends_with("Cargo.lock"), path.ends_with("Cargo.toml"));
    if !is_lock && !is_manifest {
        return vec![];
    }
    let entries = toml(text);
    let is_locked = |table| {
        entries.iter().any(|e| e.table == table && e.key == "name" && unquoted(&e.value) == "bincode")
    };
    let mut found = vec![];
    for entry in &entries {
        let (key, value) = (entry.key.as_str(), entry.value.as_str());
        let names_it =
            key == "bincode" || key == "bincode.version" || value.contains("package = \"bincode\"");
        let requirement = if is_lock && key == "version" && is_locked(entry.table) {
            unquoted(value)
        } else if is_manifest
            && entry.section.ends_with("dependencies")
            && names_it
            && !value.contains("workspace = true")
        {
            unquoted(
                value.split_once("version").map_or(value, |(_, rest)| rest.trim_start_matches([' ', '='])),
            )
        } else if is_manifest && entry.section.ends_with("dependencies.bincode") && key == "version" {
            unquoted(value)
        } else {
            continue;
        };
        let major = requirement.trim_start_matches(['=', '^', '~', ' ']).split(['.', ',']).next();
        if major != Some("2") && !(is_lock && major == Some("1")) {
            found.push(format!(
                "{path}:{}: bincode `{requirement}`; 3 is a single compile_error!, require \"2.0.1\"",
                entry.line
            ));
        }
    }
    found
}

/// `ring` for `shm-ring/src/ring/reap.rs`, `sync` for `shm-ring/src/sync.rs`.
fn module_of(path: &str) -> Option<&str> {
    path.strip_prefix(LIBRARY)?.split('/').next().map(|first| first.trim_end_matches(".rs"))
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Whether a comment with `label` stands on line `at` or closely above it.
fn argued(lines: &[Line], at: usize, label: &str) -> bool {
    let at = at - 1;
    let is_comment = |line: &Line| line.code.trim().is_empty() && !line.comment.is_empty();
    let mut from = at.saturating_sub(ARGUMENT_LINES);
    while from > 0 && is_comment(&lines[from]) && is_comment(&lines[from - 1]) {
        from -= 1;
    }
    lines[from..=at].iter().any(|line| has_word(&line.comment, label))
}
