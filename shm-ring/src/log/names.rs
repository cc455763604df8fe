//! Names: what the files of a log's directory are called.
//!
//! (I1) a name that none of these makes is none of a log's, and is left alone.
//! Works on text.

/// Lock bytes, and nothing else.
pub(crate) const LOCK: &str = "LOCK";
/// The name of the manifest that counts.
pub(crate) const CURRENT: &str = "CURRENT";
/// One of the other names with this behind it is what a death left.
pub(crate) const TEMPORARY: &str = ".tmp";

/// What a name in a log's directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// [`LOCK`].
    Lock,
    /// [`CURRENT`].
    Current,
    /// A manifest.
    Manifest(u64),
    /// A segment.
    Segment(u64),
    /// What was a segment and will be another.
    Spare(u64),
    /// A reader's place.
    Cursor,
    /// What was set aside.
    Aside,
    /// What a death left.
    Temporary,
    /// Somebody else's.
    Foreign,
}

impl Name {
    /// What `name` stands for.
    pub(crate) fn of(name: &str) -> Self {
        let number = |text: &str| text.parse::<u64>().ok();
        let found = if name == LOCK {
            Some(Self::Lock)
        } else if name == CURRENT {
            Some(Self::Current)
        } else if let Some(rest) = name.strip_suffix(TEMPORARY) {
            let is_ours = !rest.ends_with(TEMPORARY) && Self::of(rest) != Self::Foreign;
            is_ours.then_some(Self::Temporary)
        } else if name.starts_with("cursor-") {
            Some(Self::Cursor)
        } else if name.starts_with("aside-") {
            Some(Self::Aside)
        } else if let Some(rest) = name.strip_prefix("MANIFEST-") {
            number(rest).map(Self::Manifest).filter(|_| name == manifest(number(rest).unwrap_or(0)))
        } else if let Some(rest) = name.strip_prefix("spare-").and_then(|rest| rest.strip_suffix(".seg")) {
            number(rest).map(Self::Spare)
        } else if let Some(rest) = name.strip_suffix(".seg") {
            number(rest).map(Self::Segment).filter(|_| name == segment(number(rest).unwrap_or(0)))
        } else {
            None
        };
        found.unwrap_or(Self::Foreign)
    }
}

/// A segment's.
pub(crate) fn segment(number: u64) -> String {
    format!("{number:020}.seg")
}

/// Of a segment that was retired, to be used again.
pub(crate) fn spare(number: u64) -> String {
    format!("spare-{number:020}.seg")
}

/// Of a segment that does not follow from what was found before it.
pub(crate) fn aside(number: u64, uuid: &[u8; 16]) -> String {
    let digits: String = uuid[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("aside-{number:020}-{digits}.seg")
}

/// A manifest's.
pub(crate) fn manifest(number: u64) -> String {
    format!("MANIFEST-{number:08}")
}

/// What a file is called until it is complete.
pub(crate) fn temporary(name: &str) -> String {
    format!("{name}{TEMPORARY}")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: every name is known again, and near misses are somebody else's. Method: one of each; odd ones.
    #[test]
    fn names_are_known_again() {
        assert_eq!(Name::of(&segment(7)), Name::Segment(7));
        assert_eq!(Name::of(&spare(7)), Name::Spare(7));
        assert_eq!(Name::of(&manifest(123_456_789)), Name::Manifest(123_456_789));
        assert_eq!(Name::of(&aside(7, &[1; 16])), Name::Aside);
        assert_eq!(Name::of(&temporary(&segment(7))), Name::Temporary);
        assert_eq!(
            (Name::of("LOCK"), Name::of("CURRENT"), Name::of("cursor-a")),
            (Name::Lock, Name::Current, Name::Cursor)
        );
        for name in [CURRENT, &manifest(3), "cursor-a.17-0", &aside(7, &[1; 16])] {
            assert_eq!(Name::of(&temporary(name)), Name::Temporary, "{name}");
        }
        for foreign in [
            "thesis.tmp",
            ".tmp",
            "CURRENT.tmp.tmp",
            "7.seg",
            "MANIFEST-3",
            "MANIFEST-",
            "notes",
            ".seg",
            "+0000000000000000007.seg",
        ] {
            assert_eq!(Name::of(foreign), Name::Foreign, "{foreign}");
        }
    }
}
