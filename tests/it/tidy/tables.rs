//! Tables: the documents' rows, each of which names a test that exists.
//!
//! ```text
//!   | row | what | how | `it append::a`, `b`; `lib append/grow::c`; `cli mapped::d`; `doc ranges/range.rs` |
//!
//!   it a::b     fn b in tests/it/a.rs            cli a::b    fn b in shm-ring/cli/tests/a.rs
//!   lib a/b::c  fn c in shm-ring/src/a/b.rs      doc a/b.rs  an example in shm-ring/src/a/b.rs
//!   b           fn b in the file named last in the same cell
//! ```
//!
//! A `*` at the end stands for any rest, and so does nothing.
//!
//! (I1) a name counts where it stands in a cell of a table, in quotes; (I2) what it names is a test, and no other function.

use super::text::texts;
use super::{hold, lines};

/// The documents of which every table's tests are looked for.
const DOCUMENTS: [&str; 2] = ["shm-ring/docs/faults.md", "shm-ring/docs/seeds.md"];
/// How far above its function a test's attribute may stand, comments included.
const ATTRIBUTE_LINES: usize = 6;

#[test]
fn every_test_that_a_document_names_exists() {
    // Goal: no promise of a document rests on a test that was renamed, or never was.
    // Method: every name of a test in the tables of the faults and of the seeds, against the functions of the files.
    let files = texts();
    for document in DOCUMENTS {
        let text = files.iter().find(|(path, _)| path == document).map(|(_, text)| text.as_str());
        let text = text.unwrap_or_else(|| panic!("{document}: not found"));
        assert!(named(text).count() > 50, "{document}: almost no test is named, so the tables are not read");
        hold(missing_tests(document, text, &files));
    }
}

#[test]
fn every_row_of_the_seeds_is_answered() {
    // Goal: no capability of a seed is forgotten. Method: every identifier has one row, with a test or the word why not.
    let text = texts().into_iter().find(|(path, _)| path == "shm-ring/docs/seeds.md").unwrap().1;
    hold(unanswered_rows(
        &text,
        &[("A", 1..=21), ("R", 1..=20), ("L", 1..=17), ("H", 1..=10), ("P", 1..=18)],
    ));
}

/// A name in a cell: its line, the kind of place, the place, the function (or what it begins with).
struct Named<'a> {
    line: usize,
    kind: &'a str,
    place: &'a str,
    function: &'a str,
}

fn named(text: &str) -> impl Iterator<Item = Named<'_>> {
    let rows = text.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    rows.flat_map(|(n, row)| row.split('|').map(move |cell| (n + 1, cell))).flat_map(|(line, cell)| {
        let mut last = None;
        // What stands between the first and the second quote, the third and the fourth, and so on.
        cell.split('`').skip(1).step_by(2).filter_map(move |quoted| {
            let (kind, rest) = quoted.split_once(' ').unwrap_or(("", quoted));
            let is_name = |text: &str| {
                let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_*".contains(c);
                text.contains('_') && text.chars().all(is_part)
            };
            let (kind, place, function) = match (kind, rest.split_once("::"), last) {
                ("it" | "lib" | "cli", Some((place, function)), _) => (kind, place, function),
                ("doc", None, _) => (kind, rest, ""),
                ("", None, Some((kind, place))) if is_name(rest) => (kind, place, rest),
                _ => return None,
            };
            last = Some((kind, place));
            Some(Named { line, kind, place, function })
        })
    })
}

fn missing_tests(document: &str, text: &str, files: &[(String, String)]) -> Vec<String> {
    let mut found = vec![];
    for Named { line, kind, place, function } in named(text) {
        let path = match kind {
            "it" => format!("tests/it/{place}.rs"),
            "cli" => format!("shm-ring/cli/tests/{place}.rs"),
            "lib" => format!("shm-ring/src/{place}.rs"),
            _ => format!("shm-ring/src/{place}"),
        };
        let Some((_, code)) = files.iter().find(|(file, _)| *file == path) else {
            found.push(format!("{document}:{line}: no file {path}; name the one that the test is in"));
            continue;
        };
        let is_there = match kind {
            "doc" => code.contains("/// ```"),
            _ => has_test(code, function),
        };
        if !is_there {
            found.push(format!(
                "{document}:{line}: no test `{function}` in {path}; name the one that shows it"
            ));
        }
    }
    found
}

/// Whether there is a test of that name, or one that begins so.
fn has_test(code: &str, function: &str) -> bool {
    let lines = lines(code);
    let is_asked = |name: &str| match function.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => function.is_empty() || name == function,
    };
    let name_of = |code: &str| -> Option<String> {
        let rest = code.trim_start().strip_prefix("fn ")?;
        Some(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
    };
    lines.iter().enumerate().any(|(at, line)| {
        let above = &lines[at.saturating_sub(ATTRIBUTE_LINES)..at];
        // Not those of the function before it.
        let own = above.iter().rev().take_while(|line| {
            let code = line.code.trim();
            code.is_empty() || code.starts_with("#[")
        });
        name_of(&line.code).is_some_and(|name| is_asked(&name))
            && own.into_iter().any(|line| line.code.trim() == "#[test]")
    })
}

fn unanswered_rows(text: &str, wanted: &[(&str, std::ops::RangeInclusive<u32>)]) -> Vec<String> {
    let mut found = vec![];
    let ids = wanted.iter().flat_map(|(letter, ids)| ids.clone().map(move |n| format!("{letter}{n:02}")));
    for id in ids {
        let is_its = |line: &&str| line.split('|').nth(1).is_some_and(|cell| cell.trim() == id);
        let rows: Vec<&str> = text.lines().filter(is_its).collect();
        match rows[..] {
            [row] if named(row).next().is_some() || row.contains("comes with the log") => {}
            [_] => found.push(format!("{id}: neither a test nor a reason; name one")),
            _ => found.push(format!("{id}: {} rows; one is wanted", rows.len())),
        }
    }
    found
}

#[test]
fn a_test_that_is_not_there_is_seen() {
    // Goal: see `every_test_that_a_document_names_exists`. Method: good names of every kind; wrong files, wrong names, functions that are no
    // tests, names of another file; and quotes that name nothing.
    let files = [
        (
            "tests/it/append.rs",
            "#[test]\nfn one_thing() {}\nfn other_thing() {}\n#[test]\n// Goal.\nfn third_thing() {}",
        ),
        ("shm-ring/src/append/grow.rs", "/// ```\n/// ```\n    #[test]\n    fn inner_thing() {}"),
        ("shm-ring/cli/tests/mapped.rs", "// Goal.\n#[test]\nfn tool_thing() {}"),
        ("shm-ring/src/lib.rs", "mod a;"),
    ]
    .map(|(path, text)| (path.to_owned(), text.to_owned()));
    let lines_of = |text: &str| -> Vec<usize> {
        let all = missing_tests("d.md", text, &files);
        all.iter().map(|complaint| complaint.split(':').nth(1).unwrap().parse().unwrap()).collect()
    };
    let good = "`it nowhere::a_b` is no row\n| `it append::one_thing`, `third_thing` | `lib append/grow::inner_thing` |\n\
                | `cli mapped::tool_thing`; `doc append/grow.rs` | `it append::` `it append::th*` |\n| `snake_case` | `ClaimTail`, `a b` |";
    assert_eq!(lines_of(good), [0; 0]);
    let bad = "| `it apend::one_thing` |\n| `it append::one_thin` |\n| `it append::other_thing` |\n| `it append::x*` |\n\
               | `it append::one_thing`, `inner_thing` |\n| `lib append/grow::one_thing` |\n| `cli other::x` |\n| `doc lib.rs` |\n\
               | `it append::one_thing` | `gone_thing` |\n| `it append::one_thing`; `gone_thing` |";
    assert_eq!(lines_of(bad), [1, 2, 3, 4, 5, 6, 7, 8, 10]);
    assert_eq!(named(good).count(), 7);
}

#[test]
fn a_row_without_an_answer_is_seen() {
    // Goal: see `every_row_of_the_seeds_is_answered`. Method: a row with a test, one with a reason, one with neither, one twice, one missing.
    let text = "| X01 | a | `it a::b_c` |\n| X02 | comes with the log | |\n| X03 | b | |\n| X04 | `it a::b_c` |\n| X04 | `it a::b_c` |";
    let found = unanswered_rows(text, &[("X", 1..=5)]);
    let ids: Vec<&str> = found.iter().map(|complaint| &complaint[..3]).collect();
    assert_eq!(ids, ["X03", "X04", "X05"]);
}
