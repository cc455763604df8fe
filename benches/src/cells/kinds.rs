//! Kinds: who takes part, and in what.

/// What a contestant is to be compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The machine's limit.
    Floor,
    /// A hand-written ring.
    Minimal,
    /// The library.
    Ours,
    /// Somebody else's.
    Rival,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Round trips, one after the other.
    PingPong(Waits),
    /// Round trips that begin when it is their time.
    Paced(Waits),
    /// Records per second, one to one.
    Stream,
    /// Records per second at each of [`N_FAN`](super::N_FAN) consumers of one producer.
    FanOut,
    /// Records per second of [`N_FAN`](super::N_FAN) producers at one consumer.
    FanIn,
    /// Records per second of [`N_CROWD`](super::N_CROWD) producers at one consumer, all on two processors.
    Crowd,
    /// Records per second at a consumer that works on each.
    Works,
    /// Records per second at a consumer that stops for a while.
    Stops,
    /// Records per second at a consumer that shares its processor.
    Beside(Neighbour),
    /// From the push to a blocked consumer's next instruction.
    WakeUp,
    /// CPU time of a blocked consumer.
    IdleCpu,
    /// Memory of a process that uses all of a ring.
    Memory,
}

/// How a contestant waits for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Never sleeps.
    Spin,
    /// Looks for a while, then sleeps.
    Adaptive,
    /// Sleeps at once.
    Block,
}

/// Who is on the consumer's processor as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// An observer of the same ring.
    Observer,
    /// Somebody who reads private memory.
    Stranger,
}

impl Workload {
    /// As it is written in a cell's name.
    pub fn label(self) -> &'static str {
        match self {
            Self::PingPong(Waits::Spin) => "pingpong",
            Self::PingPong(Waits::Adaptive) => "pingpong_adaptive",
            Self::PingPong(Waits::Block) => "pingpong_block",
            Self::Paced(Waits::Spin) => "paced",
            Self::Paced(Waits::Adaptive) => "paced_adaptive",
            Self::Paced(Waits::Block) => "paced_block",
            Self::Stream => "stream",
            Self::FanOut => "fanout",
            Self::FanIn => "fanin",
            Self::Crowd => "crowd",
            Self::Works => "consumer_works",
            Self::Stops => "consumer_stops",
            Self::Beside(Neighbour::Observer) => "beside_observer",
            Self::Beside(Neighbour::Stranger) => "beside_stranger",
            Self::WakeUp => "wakeup",
            Self::IdleCpu => "idle_cpu",
            Self::Memory => "memory",
        }
    }

    /// Two processes that never sleep, a processor for each: whoever stands in a queue there was disturbed by others.
    pub fn spins_undisturbed(self) -> bool {
        matches!(self, Self::PingPong(Waits::Spin) | Self::Paced(Waits::Spin) | Self::Stream | Self::Works)
    }

    /// Whether L1 says little about it: it sleeps, or counts bytes.
    pub fn is_anywhere_the_same(self) -> bool {
        matches!(self, Self::WakeUp | Self::IdleCpu | Self::Memory)
    }
}
