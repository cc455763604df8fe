//! Kinds: who can be a victim, how records are appended, and what a member of the cast does when it is told to.
//!
//! (I1) whatever is told to another process is an index into one of the `ALL`s, so that it fits a word.
//! Names only.

use shm_ring::killpoints::Point;

/// Who somebody of the cast is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// The first of two producers, or the only one.
    P0,
    P1,
    /// The durable consumer: nothing is ever missing.
    C0,
    /// A consumer whose name holds no space while it is away.
    C1,
    /// The members of the group, which share one cursor.
    G0,
    G1,
}

impl Role {
    pub(crate) const ALL: [Self; 6] = [Self::P0, Self::P1, Self::C0, Self::C1, Self::G0, Self::G1];
    pub(crate) const PRODUCERS: [Self; 2] = [Self::P0, Self::P1];
    pub(crate) const CONSUMERS: [Self; 2] = [Self::C0, Self::C1];
    pub(crate) const MEMBERS: [Self; 2] = [Self::G0, Self::G1];
    pub(crate) const READERS: [Self; 4] = [Self::C0, Self::C1, Self::G0, Self::G1];

    /// Its place in the oracle.
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn is_producer(self) -> bool {
        matches!(self, Self::P0 | Self::P1)
    }

    /// A member of the group.
    pub(crate) fn is_member(self) -> bool {
        matches!(self, Self::G0 | Self::G1)
    }

    /// A consumer's number; 0 for the durable one.
    pub(crate) fn reader(self) -> usize {
        usize::from(self == Self::C1)
    }

    /// A consumer's name in the ring.
    pub(crate) fn name(self) -> &'static str {
        if self == Self::C0 { "collector" } else { "viewer" }
    }
}

/// How records get into the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Push,
    /// Claimed, and filled in place.
    InPlace,
    /// Claimed longer than needed.
    Shorter,
    /// Several in one claim, with too much of it.
    Batch,
    /// After a claim that was given up.
    AfterAbort,
    /// After a claim that was leaked.
    AfterLeak,
    /// By trying until there is room.
    Try,
    /// If there is room; else it is dropped, and comes in another way.
    Offer,
}

impl Kind {
    pub(crate) const ALL: [Self; 8] = [
        Self::Push,
        Self::InPlace,
        Self::Shorter,
        Self::Batch,
        Self::AfterAbort,
        Self::AfterLeak,
        Self::Try,
        Self::Offer,
    ];
}

/// What a member does when it is told to, with a point armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Appends, in one kind or in all.
    Append(Option<Kind>),
    /// Appends now and then, so that others sleep in between.
    AppendSlowly,
    /// Reads on.
    Read,
    /// Consumer: waits for records. Producer: waits for room.
    Wait,
    /// Gives its slot back, and takes it again; armed for the second half.
    Return,
    /// Gives its slot back; armed.
    Leave,
    /// Attaches as a consumer that the ring does not know.
    NewName,
    /// Attaches as a consumer that was away for more than a lap.
    OldName,
    /// Opens the ring once more, which reaps.
    Open,
    /// Attaches as one more producer, in the slot of a dead one.
    TakeSlot,
    /// Attaches under the name of the dead second consumer.
    TakeName,
    /// Attaches as the first member of a group that the ring does not know.
    NewGroup,
    /// Attaches as one more member of the group, and leaves before it takes anything.
    Visit,
    /// Ends well.
    Finish,
}

impl Task {
    const PLAIN: [Self; 13] = [
        Self::AppendSlowly,
        Self::Read,
        Self::Wait,
        Self::Return,
        Self::Leave,
        Self::NewName,
        Self::OldName,
        Self::Open,
        Self::TakeSlot,
        Self::TakeName,
        Self::NewGroup,
        Self::Visit,
        Self::Finish,
    ];

    pub(crate) fn encode(self) -> u64 {
        match self {
            Self::Append(None) => 100,
            Self::Append(Some(kind)) => 101 + kind as u64,
            plain => Self::PLAIN.iter().position(|task| *task == plain).unwrap() as u64,
        }
    }

    pub(crate) fn decode(word: u64) -> Self {
        match word {
            100 => Self::Append(None),
            101.. => Self::Append(Some(Kind::ALL[(word - 101) as usize])),
            plain => Self::PLAIN[plain as usize],
        }
    }
}

/// One kill or stop by choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Deed {
    pub(crate) role: Role,
    pub(crate) task: Task,
    pub(crate) point: Point,
    /// The how manieth time that it comes by, from 1.
    pub(crate) nth: u64,
    /// SIGSTOP instead of SIGKILL.
    pub(crate) stops: bool,
}

/// The point with that number.
pub(crate) fn point(number: u64) -> Option<Point> {
    Point::ALL.get(usize::try_from(number).ok()?).copied()
}
