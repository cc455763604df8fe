//! Killpoint: named places of the protocol at which a test ends or stops its own process.
//!
//! ```text
//!   test:      arm(Point::ClaimTail, 3, Signal::Kill)      the third time that this process comes by
//!   protocol:  ... tail moved ... kill_point(ClaimTail) -> SIGKILL, nothing after it is done
//! ```
//! Between any two stores of the protocol stands a point, so that "dies at any instruction" can be tried one by one with real
//! processes. Without the feature `killpoints`, which no release has, a point is an empty function.
//!
//! (I1) what is armed concerns this process alone, and is not inherited by what it executes; (I2) an unarmed point costs a load.
#![cfg_attr(
    not(feature = "killpoints"),
    allow(
        unreachable_pub,
        dead_code,
        reason = "without the feature nobody arms a point, and none is exported"
    )
)]

macro_rules! points {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A place of the protocol. Each stands right behind the step that it is called after.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Point {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Point {
            /// Every point there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

points! {
    /// Producer: the length of the claim that it intends is stored, the intent is not.
    ClaimLength,
    /// Producer: the intent is stored, the tail has not moved.
    ClaimIntent,
    /// Producer: the tail has moved, no header says so.
    ClaimTail,
    /// Producer: the sequences of the claim are taken.
    ClaimSequence,
    /// Producer: out of room, its own intent is withdrawn.
    LimitIntent,
    /// Producer: the new limit is granted, and not yet checked once more.
    LimitGranted,
    /// Producer: the new limit is checked.
    LimitChecked,
    /// Producer: a marked claim has its state word, and no seal.
    MarkWord,
    /// Producer: a marked claim is sealed.
    MarkSealed,
    /// Producer: half of the payload is written.
    PayloadHalf,
    /// Producer: the payload is written.
    PayloadDone,
    /// Producer: a header inside a claim (of a batch, or a pad) has its state word, and no seal.
    InsideWord,
    /// Producer: a header inside a claim is sealed.
    InsideSealed,
    /// Producer: about to give a claim up.
    Abort,
    /// Producer: a marked claim is committed, or given up; nothing is counted.
    CommitStored,
    /// Producer: an unmarked claim has its state word, and no seal.
    PublishWord,
    /// Producer: an unmarked claim is published; nothing is counted.
    PublishSealed,
    /// Producer: a GAP is published, and not yet noted as told.
    GapTold,
    /// Producer: what was committed is counted; nobody is woken.
    CommitCounted,
    /// Anybody: the waiting bit was seen and cleared, nobody is woken.
    WakeCounted,
    /// Anybody: the sleepers are woken.
    WakeDone,
    /// Anybody: the waiting bit is set.
    SleepBit,
    /// Anybody: the fence after the waiting bit is done.
    SleepFence,
    /// Anybody: the second look brought nothing; about to sleep.
    SleepLooked,
    /// Anybody: awake again.
    SleepOver,
    /// Consumer: a frame is released, its position is not published.
    ReleaseKept,
    /// Consumer: its position is published, nobody is woken.
    ReleasePublished,
    /// Consumer: its first position is stored, not yet compared with what was granted.
    JoinStored,
    /// Consumer: it has to move up from a position that it had stored.
    JoinMoves,
    /// Group member: where it is about to take a record is stored, the group has not moved.
    GroupIntent,
    /// Group member: it has taken a record.
    GroupTaken,
    /// Group member: it has released a record, nobody is woken.
    GroupReleased,
    /// Group member: the first of a group; the group has its position, and does not count as durable.
    GroupJoined,
    /// Group member that attaches: its slot is marked as a member's.
    GroupMember,
    /// Group member: it has taken over a dead one's slot, and copied its record.
    GroupAdopted,
    /// Reaper: a dead member's record is announced, its slot not changed.
    GroupOrphan,
    /// Anybody: a member's slot holds nothing any more, and is still a member's.
    GroupFreed,
    /// Anybody: such a slot has no name any more, and is still a member's.
    GroupNameless,
    /// Anybody: such a slot is no member's any more, and still owned.
    GroupUnmarked,
    /// Reaper: where a group without members goes on is stored; it holds its space.
    GroupResume,
    /// Reaper: a group without members holds no space; its orphans do.
    GroupDisbanded,
    /// Producer or consumer that attaches: its slot's byte is locked; nothing is written.
    AttachLocked,
    /// Producer that attaches: what the slot's last owner left is repaired.
    AttachReaped,
    /// Producer that attaches: it is marked as attached.
    AttachMarked,
    /// Producer that attaches: the high-water mark covers its slot.
    AttachHigh,
    /// Consumer that attaches: the old name is gone, the new one is not whole.
    NameHalf,
    /// Consumer that attaches: its name is stored.
    NameStored,
    /// Consumer that attaches: the slot is its own, it has not joined.
    NameHigh,
    /// Producer that leaves: its slot is idle.
    LeaveIdle,
    /// Producer that leaves: it is marked as gone, its byte is locked.
    LeaveMarked,
    /// Producer that leaves: its byte is free, nobody is woken.
    LeaveUnlocked,
    /// Consumer that leaves: where its name goes on is stored; it holds its space.
    LeaveResume,
    /// Consumer that leaves: it holds no space, its byte is locked.
    LeavePosition,
    /// Reaper: it has byte 0.
    ReapRepair,
    /// Reaper: it has a dead slot's byte.
    ReapProved,
    /// Reaper: it has found nothing sealed where the dead producer stood, and has not asked who else stands there.
    ReapLooked,
    /// Reaper: a marked claim is LOST.
    ReapLost,
    /// Reaper: an unmarked claim has its LOST state word, and no seal.
    ReapHoleWord,
    /// Reaper: an unmarked claim is LOST and sealed.
    ReapHoleSealed,
    /// Reaper: what was lost is counted.
    ReapCounted,
    /// Reaper: the producer's slot is idle.
    ReapIdle,
    /// Reaper: the producer's slot has its next generation.
    ReapGeneration,
    /// Reaper: the producer is marked as gone.
    ReapMarked,
    /// Reaper: where a dead consumer's name goes on is stored; it holds its space.
    ReapResume,
    /// Reaper: the dead consumer holds no space.
    ReapPosition,
    /// Reaper: everything is repaired, nobody is woken.
    ReapDone,
}

/// A place where this process may be killed or stopped, if a test wants it.
#[inline(always)]
pub(crate) fn kill_point(point: Point) {
    #[cfg(all(feature = "killpoints", not(any(loom, shuttle))))]
    armed::pass(point);
    #[cfg(not(all(feature = "killpoints", not(any(loom, shuttle)))))]
    let _ = point;
}

#[cfg(all(feature = "killpoints", not(any(loom, shuttle))))]
pub use armed::{Signal, arm, disarm, reach};

#[cfg(all(feature = "killpoints", not(any(loom, shuttle))))]
mod armed {
    use super::Point;
    use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

    /// What happens at the point.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Signal {
        /// SIGKILL: nothing more is done.
        Kill,
        /// SIGSTOP: it goes on when it gets SIGCONT.
        Stop,
    }

    const NONE: u32 = u32::MAX;
    static ARMED: AtomicU32 = AtomicU32::new(NONE);
    static LEFT: AtomicU64 = AtomicU64::new(0);
    static STOPS: AtomicU32 = AtomicU32::new(0);
    static HIT_AT: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());

    /// Arms this process: the `nth` time that it comes to `point`, counted from 1, stores the monotonic time into `hit_at_ns` and sends
    /// itself the signal. One thread of a process may use the library while it is armed.
    pub fn arm(point: Point, nth: u64, signal: Signal, hit_at_ns: &'static AtomicU64) {
        // ORDER none (Relaxed), for all of it: one thread.
        HIT_AT.store(std::ptr::from_ref(hit_at_ns).cast_mut(), Ordering::Relaxed);
        LEFT.store(nth, Ordering::Relaxed);
        STOPS.store(u32::from(signal == Signal::Stop), Ordering::Relaxed);
        ARMED.store(u32::from(point as u16), Ordering::Relaxed);
    }

    /// Nothing happens any more.
    pub fn disarm() {
        ARMED.store(NONE, Ordering::Relaxed);
    }

    /// A point of the caller's own code: in the middle of a payload, say.
    pub fn reach(point: Point) {
        pass(point);
    }

    #[inline(always)]
    pub(super) fn pass(point: Point) {
        if ARMED.load(Ordering::Relaxed) == u32::from(point as u16) {
            hit();
        }
    }

    #[cold]
    fn hit() {
        let left = LEFT.load(Ordering::Relaxed).saturating_sub(1);
        LEFT.store(left, Ordering::Relaxed);
        if left > 0 {
            return;
        }
        disarm();
        // SAFETY:
        // - null or a `&'static AtomicU64` that `arm` was given;
        // - no plain access: it is reached as an atomic only.
        if let Some(hit_at_ns) = unsafe { HIT_AT.load(Ordering::Relaxed).as_ref() } {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let ns = now.tv_sec.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec);
            // Whoever reads it has waited for this process's end, or for its stop.
            hit_at_ns.store(ns.unsigned_abs(), Ordering::Relaxed);
        }
        let signal = if STOPS.load(Ordering::Relaxed) == 0 { libc::SIGKILL } else { libc::SIGSTOP };
        // To this thread, not only to its process: a stop that another thread takes first would let this one go on for a while.
        // SAFETY: no preconditions.
        unsafe { libc::raise(signal) };
    }
}
