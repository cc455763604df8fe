//! Cells: which contestant runs which workload at which size, and the loop that runs them.
//!
//! ```text
//!   for each repetition:          so that a bad moment of the machine meets everybody,
//!       for each cell:            and every cell sees every moment
//!           a fresh ring, two fresh processes, L1 before and after
//! ```

use shm_ring::Wait;

use crate::floor::Chunks;
use crate::minimal::{InbandRing, SlotRing, TailRing};
use crate::ours::{Batched, Observed, Setup, Single};
use crate::workload::blocked::{idle, wakeup};
use crate::workload::stream::stream;
use crate::workload::trips::pingpong;
use crate::workload::{Contestant, Plan, Repetition};

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
    /// Records per second at each of [`N_FAN`] consumers of one producer.
    FanOut,
    /// Records per second of [`N_FAN`] producers at one consumer.
    FanIn,
    /// Records per second of [`N_CROWD`] producers at one consumer, all on two processors.
    Crowd,
    /// From the push to a blocked consumer's next instruction.
    WakeUp,
    /// CPU time of a blocked consumer.
    IdleCpu,
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
            Self::WakeUp => "wakeup",
            Self::IdleCpu => "idle_cpu",
        }
    }
}

/// Sizes of records in streams.
pub const STREAM_SIZES: [usize; 6] = [16, 64, 256, 1024, 4096, 65536];
/// Sizes of records where there are several producers or consumers.
pub const FAN_SIZES: [usize; 3] = [64, 1024, 65536];
/// Consumers of a fan-out, producers of a fan-in.
pub const N_FAN: usize = 2;
/// Producers of a crowd.
pub const N_CROWD: usize = 8;
/// Size of records everywhere else.
pub const SMALL: usize = 64;
/// The floor of streams of 64 KiB.
pub const STREAM_LIMIT: &str = "L2";

const STREAM_RING_BYTES: usize = 4 << 20;
const SMALL_RING_BYTES: usize = 256 << 10;
const N_BATCH: usize = 32;
/// A batch is not longer than this, so that several fit into the ring.
const BATCH_BYTES_MAX: usize = 256 << 10;

type Run = Box<dyn Fn(&Plan) -> Result<Repetition, String>>;

/// A contestant, a workload and a size, with what was measured so far.
pub struct Cell {
    /// Who.
    pub contestant: &'static str,
    /// In which group.
    pub group: Group,
    /// Does what.
    pub workload: Workload,
    /// With records of which size.
    pub record_bytes: usize,
    /// One entry per repetition.
    pub repetitions: Vec<Result<Repetition, String>>,
    run: Run,
}

impl std::fmt::Debug for Cell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cell").field("name", &self.name()).field("repetitions", &self.repetitions).finish()
    }
}

impl Cell {
    /// `workload/size/contestant`.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.workload.label(), self.record_bytes, self.contestant)
    }
}

/// Every cell, in the order of the tables.
pub fn all() -> Vec<Cell> {
    let mut cells = Cells(Vec::new());
    cells.stream_at(Group::Floor, STREAM_LIMIT, 65536, |ring, record| Ok(Chunks::new(ring, record)));

    let minimal = Group::Minimal;
    cells.both(minimal, "raw_slot", |ring, record| Ok(SlotRing::new(ring, record)));
    cells.both(minimal, "raw_tail", |ring, _| Ok(TailRing::new(ring)));
    cells.streams(minimal, "raw_tail_batch", |ring, record| Ok(TailRing::batch(ring, batch_of(record))));
    cells.both(minimal, "raw_tail_lag8", |ring, _| Ok(TailRing::lag(ring, 8)));
    cells.both(minimal, "raw_tail_lag40", |ring, _| Ok(TailRing::lag(ring, 40)));
    cells.both(minimal, "raw_inband", |ring, _| Ok(InbandRing::new(ring)));

    const EXCLUSIVE: Setup = Setup::EXCLUSIVE;
    const SHARED: Setup = Setup::SHARED;
    let ours = Group::Ours;
    cells.both(ours, "ours_exclusive", |ring, _| Single::new(EXCLUSIVE, ring));
    cells.both(ours, "ours_exclusive_nobackoff", |ring, _| Single::new(EXCLUSIVE.without_backoff(), ring));
    cells.both(ours, "ours_exclusive_meta", |ring, _| Single::new(EXCLUSIVE.with_metadata(), ring));
    cells.streams(ours, "ours_exclusive_batch", |ring, record| batched(EXCLUSIVE, ring, record));
    cells.streams(ours, "ours_exclusive_batch_meta", |ring, record| {
        batched(EXCLUSIVE.with_metadata(), ring, record)
    });
    cells.both(ours, "ours_shared", |ring, _| Single::new(SHARED, ring));
    cells.both(ours, "ours_shared_nobackoff", |ring, _| Single::new(SHARED.without_backoff(), ring));
    cells.streams(ours, "ours_shared_batch", |ring, record| batched(SHARED, ring, record));
    cells.both(ours, "ours_observer", |ring, _| Observed::new(EXCLUSIVE, ring));

    cells.blocked("ours_block", EXCLUSIVE.waiting(Wait::Block));
    cells.blocked("ours_adaptive", EXCLUSIVE.waiting(Wait::Adaptive));

    rivals(&mut cells);
    cells.0
}

/// Everybody else's.
fn rivals(cells: &mut Cells) {
    #[cfg(feature = "rivals")]
    crate::rivals::add(cells);
    #[cfg(not(feature = "rivals"))]
    let _ = cells;
}

/// Records in a batch.
pub(crate) fn batch_of(record_bytes: usize) -> usize {
    N_BATCH.min(BATCH_BYTES_MAX / record_bytes)
}

fn batched(setup: Setup, ring_bytes: usize, record_bytes: usize) -> Result<Batched, String> {
    Batched::new(setup, ring_bytes, record_bytes, batch_of(record_bytes))
}

/// The cells while they are listed. `make` takes the ring's and the records' size, before the fork.
///
/// | method | the contestant must be able to |
/// |--------|--------------------------------|
/// | `both`, `streams` | one sender, one receiver |
/// | `pingpong`, `paced` | the same, waiting as said |
/// | `fan_out` | one sender, [`N_FAN`] receivers that each get every record; more processes than processors: don't wait without yielding |
/// | `fan_in` | [`N_FAN`] senders, one receiver; as above |
/// | `crowd` | [`N_CROWD`] senders, one receiver; as above |
///
/// A name that ends in `_batch` sends or receives several records at once.
pub(crate) struct Cells(Vec<Cell>);

#[allow(dead_code, reason = "the workloads that are missing come with the contestants that use them")]
impl Cells {
    fn push(
        &mut self,
        group: Group,
        contestant: &'static str,
        workload: Workload,
        record_bytes: usize,
        run: Run,
    ) {
        self.0.push(Cell { contestant, group, workload, record_bytes, repetitions: Vec::new(), run });
    }

    /// Ping-pong, spinning, and all streams.
    pub(crate) fn both<C, M>(&mut self, group: Group, contestant: &'static str, make: M)
    where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        self.pingpong(group, contestant, Waits::Spin, make);
        self.streams(group, contestant, make);
    }

    /// Ping-pong.
    pub(crate) fn pingpong<C, M>(&mut self, group: Group, contestant: &'static str, waits: Waits, make: M)
    where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        let run = move |plan: &Plan| {
            let rings = [make(SMALL_RING_BYTES, SMALL)?, make(SMALL_RING_BYTES, SMALL)?];
            pingpong(&rings[0], &rings[1], SMALL, plan)
        };
        self.push(group, contestant, Workload::PingPong(waits), SMALL, Box::new(run));
    }

    /// Ping-pong, a trip each 100 us.
    pub(crate) fn paced<C, M>(&mut self, group: Group, contestant: &'static str, waits: Waits, make: M)
    where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        self.missing(group, contestant, Workload::Paced(waits), SMALL, make);
    }

    /// One to [`N_FAN`].
    pub(crate) fn fan_out<C, M>(&mut self, group: Group, contestant: &'static str, make: M)
    where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        for record_bytes in FAN_SIZES {
            self.fan_out_at(group, contestant, record_bytes, make);
        }
    }

    /// The same with records of one size.
    pub(crate) fn fan_out_at<C, M>(
        &mut self,
        group: Group,
        contestant: &'static str,
        record_bytes: usize,
        make: M,
    ) where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        self.missing(group, contestant, Workload::FanOut, record_bytes, make);
    }

    /// [`N_FAN`] to one.
    pub(crate) fn fan_in<C, M>(&mut self, group: Group, contestant: &'static str, make: M)
    where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        for record_bytes in FAN_SIZES {
            self.fan_in_at(group, contestant, record_bytes, make);
        }
    }

    /// The same with records of one size.
    pub(crate) fn fan_in_at<C, M>(
        &mut self,
        group: Group,
        contestant: &'static str,
        record_bytes: usize,
        make: M,
    ) where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        self.missing(group, contestant, Workload::FanIn, record_bytes, make);
    }

    /// [`N_CROWD`] to one.
    pub(crate) fn crowd<C, M>(&mut self, group: Group, contestant: &'static str, make: M)
    where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        self.missing(group, contestant, Workload::Crowd, SMALL, make);
    }

    fn missing<C, M>(
        &mut self,
        group: Group,
        contestant: &'static str,
        workload: Workload,
        record_bytes: usize,
        make: M,
    ) where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        let run =
            move |_: &Plan| make(STREAM_RING_BYTES, record_bytes).and(Err("no such workload yet".to_owned()));
        self.push(group, contestant, workload, record_bytes, Box::new(run));
    }

    /// Streams of all sizes.
    pub(crate) fn streams<C, M>(&mut self, group: Group, contestant: &'static str, make: M)
    where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        for record_bytes in STREAM_SIZES {
            self.stream_at(group, contestant, record_bytes, make);
        }
    }

    /// A stream of one size.
    pub(crate) fn stream_at<C, M>(
        &mut self,
        group: Group,
        contestant: &'static str,
        record_bytes: usize,
        make: M,
    ) where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + 'static,
    {
        let run = move |plan: &Plan| stream(&make(STREAM_RING_BYTES, record_bytes)?, record_bytes, plan);
        self.push(group, contestant, Workload::Stream, record_bytes, Box::new(run));
    }

    fn blocked(&mut self, contestant: &'static str, setup: Setup) {
        let run = move |plan: &Plan| wakeup(&Single::new(setup, SMALL_RING_BYTES)?, plan);
        self.push(Group::Ours, contestant, Workload::WakeUp, SMALL, Box::new(run));
        let run = move |plan: &Plan| idle(&Single::new(setup, SMALL_RING_BYTES)?, plan);
        self.push(Group::Ours, contestant, Workload::IdleCpu, SMALL, Box::new(run));
    }
}

/// Runs every cell `n_repetitions` times, interleaved; `before` hears which one comes next.
pub fn run(cells: &mut [Cell], n_repetitions: usize, plan: &Plan, mut before: impl FnMut(usize, &Cell)) {
    for repetition in 0..n_repetitions {
        for cell in &mut *cells {
            before(repetition, cell);
            let result = (cell.run)(plan);
            cell.repetitions.push(result);
        }
    }
}
