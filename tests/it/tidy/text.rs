//! Text: what the checkers of [`super`] see of the workspace: its tracked files, and their lines, words, paths and entries.
//!
//! (I1) every line, word and entry knows its number, from 1; (I2) comments and the insides of quotes are no words.
//! Knows no rule.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One line of Rust: its code with the insides of quotes blanked, and its comments.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) code: String,
    pub(super) comment: String,
}

enum Inside {
    Code,
    LineComment,
    BlockComment { depth: usize },
    Quotes,
    RawQuotes { n_hashes: usize },
}

pub(super) fn lines(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let is = |at: usize, c: char| chars.get(at) == Some(&c);
    let mut lines = vec![Line::default()];
    let mut inside = Inside::Code;
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        at += 1;
        if c == '\n' {
            lines.push(Line::default());
            if matches!(inside, Inside::LineComment) {
                inside = Inside::Code;
            }
            continue;
        }
        let line = lines.last_mut().expect("there is always a line");
        match &mut inside {
            Inside::LineComment => line.comment.push(c),
            Inside::BlockComment { depth } => {
                line.comment.push(c);
                if c == '/' && is(at, '*') {
                    *depth += 1;
                    at += 1;
                } else if c == '*' && is(at, '/') {
                    *depth -= 1;
                    at += 1;
                    if *depth == 0 {
                        inside = Inside::Code;
                    }
                }
            }
            Inside::Quotes if c == '\\' => at += usize::from(!is(at, '\n')),
            Inside::Quotes if c == '"' => inside = Inside::Code,
            Inside::RawQuotes { n_hashes } if c == '"' && (0..*n_hashes).all(|n| is(at + n, '#')) => {
                at += *n_hashes;
                inside = Inside::Code;
            }
            Inside::Quotes | Inside::RawQuotes { .. } => {}
            Inside::Code if c == '/' && is(at, '/') => {
                line.comment.push(c);
                inside = Inside::LineComment;
            }
            Inside::Code if c == '/' && is(at, '*') => {
                line.comment.push(c);
                at += 1;
                inside = Inside::BlockComment { depth: 1 };
            }
            Inside::Code if c == '"' => inside = quotes(&line.code),
            // A character and not a lifetime; an escaped one ends at the next quote after what is escaped.
            Inside::Code if c == '\'' && is(at, '\\') => {
                at += 2;
                while at < chars.len() && !is(at, '\'') {
                    at += 1;
                }
                at += 1;
            }
            Inside::Code if c == '\'' && is(at + 1, '\'') => at += 2,
            Inside::Code => line.code.push(c),
        }
    }
    lines
}

/// What a quote opens after `code`: `r##` in front of it makes it raw.
fn quotes(code: &str) -> Inside {
    let before = code.trim_end_matches('#');
    let prefix = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next();
    if matches!(prefix, Some("r" | "br" | "cr")) {
        return Inside::RawQuotes { n_hashes: code.len() - before.len() };
    }
    Inside::Quotes
}

/// A name or number, `::`, or one other character, and the line it is on, from 1.
pub(super) struct Word {
    pub(super) line: usize,
    pub(super) text: String,
}

pub(super) fn words(lines: &[Line]) -> Vec<Word> {
    let mut words: Vec<Word> = vec![];
    for (n, line) in lines.iter().enumerate() {
        let mut rest = line.code.trim_start();
        while let Some(first) = rest.chars().next() {
            let n_name = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            let n_bytes = match n_name {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                _ => n_name,
            };
            words.push(Word { line: n + 1, text: rest[..n_bytes].into() });
            rest = rest[n_bytes..].trim_start();
        }
    }
    words
}

/// Every path that begins with `first`, groups written out: `a::{b, c::d}` is `a::b` and `a::c::d`.
pub(super) fn paths_from(first: &str, words: &[Word]) -> Vec<(usize, Vec<String>)> {
    let mut found = vec![];
    for (at, pair) in words.windows(2).enumerate() {
        if pair[0].text == first && pair[1].text == "::" {
            expand(words, at + 2, &[first.to_string()], &mut found);
        }
    }
    found
}

/// Adds the paths that go on at word `at`, and returns where the next word stands.
fn expand(words: &[Word], mut at: usize, prefix: &[String], found: &mut Vec<(usize, Vec<String>)>) -> usize {
    let text = |at: usize| words.get(at).map_or("", |word| word.text.as_str());
    if text(at) == "{" {
        at += 1;
        while !matches!(text(at), "}" | "") {
            at = expand(words, at, prefix, found);
            while !matches!(text(at), "," | "}" | "") {
                at += 1;
            }
            at += usize::from(text(at) == ",");
        }
        return at + 1;
    }
    let Some(word) = words.get(at) else { return at };
    let path = [prefix, std::slice::from_ref(&word.text)].concat();
    let goes_on =
        text(at + 1) == "::" && text(at + 2).starts_with(|c: char| c.is_alphanumeric() || "_{*".contains(c));
    if goes_on {
        return expand(words, at + 2, &path, found);
    }
    found.push((word.line, path));
    at + 1
}

/// `key = value` and the table it is in; tables are numbered, so that the two `[[example]]` of a file stay apart.
pub(super) struct Entry {
    pub(super) line: usize,
    pub(super) table: usize,
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
}

pub(super) fn toml(text: &str) -> Vec<Entry> {
    let (mut table, mut section) = (0, String::new());
    let mut entries = vec![];
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            table += 1;
            section = line.split('#').next().unwrap_or_default().trim().trim_matches(['[', ']']).into();
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            entries.push(Entry {
                line: n + 1,
                table,
                section: section.clone(),
                key: key.trim().into(),
                value: value.trim().into(),
            });
        }
    }
    entries
}

/// What stands between the first pair of quotes; all of it where there is none.
pub(super) fn unquoted(value: &str) -> &str {
    value.split('"').nth(1).unwrap_or(value)
}

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(super) fn rust_under(folders: &[&str]) -> Vec<(String, String)> {
    let is_there =
        |path: &str| path.ends_with(".rs") && folders.iter().any(|folder| path.starts_with(folder));
    texts().into_iter().filter(|(path, _)| is_there(path)).collect()
}

/// Path and text of every tracked file that is text.
pub(super) fn texts() -> Vec<(String, String)> {
    tracked()
        .into_iter()
        .filter_map(|path| fs::read_to_string(root().join(&path)).ok().map(|text| (path, text)))
        .collect()
}

/// Files that git tracks or would track; without git, all files but what cargo built.
pub(super) fn tracked() -> Vec<String> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git")
        .arg("-C")
        .arg(root())
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success());
    let mut paths: Vec<String> = listed
        .map(|output| {
            String::from_utf8_lossy(&output.stdout)
                .split('\0')
                .filter(|path| !path.is_empty())
                .map(String::from)
                .collect()
        })
        .unwrap_or_default();
    // An outer repository that ignores this folder lists nothing of it.
    if !paths.iter().any(|path| path == "Cargo.toml") {
        paths = vec![];
        walk(&root(), "", &mut paths);
    }
    paths.sort();
    paths.dedup();
    paths
}

fn walk(folder: &Path, prefix: &str, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the workspace can be read").filter_map(Result::ok) {
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && path != ".git" && path != "target" => {
                walk(&entry.path(), &format!("{path}/"), paths)
            }
            Ok(kind) if kind.is_file() => paths.push(path),
            _ => {}
        }
    }
}

pub(super) fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + word.len()..].starts_with(is_part))
}
