//! Cells: which contestant runs which workload at which size, and the loop that runs them.
//!
//! ```text
//!   for each repetition:          so that a bad moment of the machine meets everybody,
//!       for each cell:            and every cell sees every moment
//!           a fresh ring, fresh processes, L1 before and after
//! ```

mod kinds;

use shm_ring::Wait;

use crate::floor::Chunks;
use crate::minimal::{InbandRing, SlotRing, TailRing};
use crate::ours::{Batch, Drain, InPlace, Observe, Ours, Poll, Push, Setup, batch_of};
use crate::workload::blocked::{idle, wakeup};
use crate::workload::memory::memory;
use crate::workload::slow::{beside, read_along, read_private_memory, stops, works};
use crate::workload::stream::{crowd, fan_in, fan_out, stream};
use crate::workload::trips::{Sleep, paced, pingpong};
use crate::workload::{Contestant, Plan, Repetition};

pub use kinds::{Group, Neighbour, Waits, Workload};

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

const STREAM_RING_BYTES: usize = 4 << 20;
const SMALL_RING_BYTES: usize = 256 << 10;

/// How ours waits where processes share a processor.
pub const WAIT_CROWDED: Wait = Wait::Adaptive;

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
    /// Whether both sides are threads of one process.
    pub in_process: bool,
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
    /// Not measured yet.
    pub fn new(
        group: Group,
        contestant: &'static str,
        workload: Workload,
        record_bytes: usize,
        run: impl Fn(&Plan) -> Result<Repetition, String> + 'static,
    ) -> Self {
        let (in_process, repetitions) = (false, Vec::new());
        Self { contestant, group, workload, record_bytes, in_process, repetitions, run: Box::new(run) }
    }

    /// `workload/size/contestant`.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.workload.label(), self.record_bytes, self.contestant)
    }
}

/// Every cell, in the order of the tables.
pub fn all() -> Vec<Cell> {
    let mut cells = Cells(Vec::new());
    cells.stream_at(Group::Floor, "L2", 65536, |ring, record| Ok(Chunks::new(ring, record)));

    let minimal = Group::Minimal;
    cells.both(minimal, "raw_slot", |ring, record| Ok(SlotRing::new(ring, record)));
    cells.both(minimal, "raw_tail", |ring, _| Ok(TailRing::new(ring)));
    cells.streams(minimal, "raw_tail_batch", |ring, record| Ok(TailRing::batch(ring, batch_of(record))));
    cells.both(minimal, "raw_tail_lag8", |ring, _| Ok(TailRing::lag(ring, 8)));
    cells.both(minimal, "raw_tail_lag40", |ring, _| Ok(TailRing::lag(ring, 40)));
    cells.both(minimal, "raw_inband", |ring, _| Ok(InbandRing::new(ring)));

    ours(&mut cells);
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

fn ours(cells: &mut Cells) {
    const EXCLUSIVE: Setup = Setup::EXCLUSIVE;
    const SHARED: Setup = Setup::SHARED;
    let group = Group::Ours;
    cells.both(group, "ours_exclusive", one_by_one(EXCLUSIVE));
    cells.both(group, "ours_exclusive_nobackoff", one_by_one(EXCLUSIVE.without_backoff()));
    cells.both(group, "ours_exclusive_meta", one_by_one(EXCLUSIVE.with_metadata()));
    cells.both(group, "ours_exclusive_claim", of::<InPlace, Poll>(EXCLUSIVE));
    cells.streams(group, "ours_exclusive_drain", of::<Push, Drain>(EXCLUSIVE));
    cells.streams(group, "ours_exclusive_batch", of::<Batch, Drain>(EXCLUSIVE));
    cells.streams(group, "ours_exclusive_batch_meta", of::<Batch, Drain>(EXCLUSIVE.with_metadata()));
    cells.both(group, "ours_shared", one_by_one(SHARED));
    cells.both(group, "ours_shared_nobackoff", one_by_one(SHARED.without_backoff()));
    cells.streams(group, "ours_shared_claim", of::<InPlace, Poll>(SHARED));
    cells.streams(group, "ours_shared_batch", of::<Batch, Drain>(SHARED));
    cells.both(group, "ours_observer", of::<Push, Observe>(EXCLUSIVE));

    let crowded = |setup: Setup| setup.waiting(WAIT_CROWDED);
    cells.fan_out(group, "ours_exclusive", one_by_one(crowded(EXCLUSIVE)));
    cells.fan_out(group, "ours_exclusive_batch", of::<Batch, Drain>(crowded(EXCLUSIVE)));
    cells.fan_in(group, "ours_shared", one_by_one(crowded(SHARED)));
    cells.fan_in(group, "ours_shared_batch", of::<Batch, Drain>(crowded(SHARED)));
    cells.crowd(group, "ours_shared", one_by_one(crowded(SHARED)));
    cells.crowd(group, "ours_shared_batch", of::<Batch, Drain>(crowded(SHARED)));

    for (name, setup) in [("ours_exclusive", EXCLUSIVE), ("ours_shared", SHARED)] {
        let waits =
            [(Waits::Spin, Wait::Spin), (Waits::Adaptive, Wait::Adaptive), (Waits::Block, Wait::Block)];
        for (waits, wait) in waits {
            if waits != Waits::Spin {
                cells.pingpong(group, name, waits, one_by_one(setup.waiting(wait)));
            }
            cells.paced(group, name, waits, one_by_one(setup.waiting(wait)));
        }
        cells.slow(group, name, one_by_one(setup));
        cells.beside(name, crowded(setup));
        cells.memory(group, name, one_by_one(setup));
    }
    cells.blocked("ours_block", EXCLUSIVE.waiting(Wait::Block));
    cells.blocked("ours_adaptive", EXCLUSIVE.waiting(Wait::Adaptive));
}

/// Makes rings with these ends.
fn of<S, R>(setup: Setup) -> impl Fn(usize, usize) -> Result<Ours<S, R>, String> + Copy {
    move |ring_bytes, record_bytes| Ours::new(setup, ring_bytes, record_bytes)
}

/// `push` and `poll`.
fn one_by_one(setup: Setup) -> impl Fn(usize, usize) -> Result<Ours<Push, Poll>, String> + Copy {
    of(setup)
}

/// The cells while they are listed. `make` takes the ring's and the records' size, before the fork.
///
/// | method | the contestant must be able to |
/// |--------|--------------------------------|
/// | `both`, `streams`, `slow` | one sender, one receiver |
/// | `pingpong`, `paced` | the same, waiting as said |
/// | `fan_out` | one sender, [`N_FAN`] receivers that each get every record; more processes than processors: don't wait without yielding |
/// | `fan_in` | [`N_FAN`] senders, one receiver; as above |
/// | `crowd` | [`N_CROWD`] senders, one receiver; as above |
/// | `memory` | one sender, one receiver in the same process |
///
/// A name that ends in `_batch` sends or receives several records at once.
pub(crate) struct Cells(Vec<Cell>);

impl Cells {
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
        let sleep = if waits == Waits::Block { Sleep::Allowed } else { Sleep::Never };
        self.push::<C>(group, contestant, Workload::PingPong(waits), SMALL, move |plan| {
            let rings = [make(SMALL_RING_BYTES, SMALL)?, make(SMALL_RING_BYTES, SMALL)?];
            pingpong(&rings[0], &rings[1], SMALL, sleep, plan)
        });
    }

    /// Ping-pong, a trip each 100 us.
    pub(crate) fn paced<C, M>(&mut self, group: Group, contestant: &'static str, waits: Waits, make: M)
    where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        self.push::<C>(group, contestant, Workload::Paced(waits), SMALL, move |plan| {
            let rings = [make(SMALL_RING_BYTES, SMALL)?, make(SMALL_RING_BYTES, SMALL)?];
            paced(&rings[0], &rings[1], SMALL, plan)
        });
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
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        self.push::<C>(group, contestant, Workload::Stream, record_bytes, move |plan| {
            stream(&make(STREAM_RING_BYTES, record_bytes)?, record_bytes, plan)
        });
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
        self.push::<C>(group, contestant, Workload::FanOut, record_bytes, move |plan| {
            fan_out(&make(STREAM_RING_BYTES, record_bytes)?, N_FAN, record_bytes, plan)
        });
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
        self.push::<C>(group, contestant, Workload::FanIn, record_bytes, move |plan| {
            fan_in(&make(STREAM_RING_BYTES, record_bytes)?, N_FAN, record_bytes, plan)
        });
    }

    /// [`N_CROWD`] to one.
    pub(crate) fn crowd<C, M>(&mut self, group: Group, contestant: &'static str, make: M)
    where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        self.push::<C>(group, contestant, Workload::Crowd, SMALL, move |plan| {
            crowd(&make(STREAM_RING_BYTES, SMALL)?, N_CROWD, SMALL, plan)
        });
    }

    /// A consumer that works, and one that stops.
    pub(crate) fn slow<C, M>(&mut self, group: Group, contestant: &'static str, make: M)
    where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + 'static,
    {
        self.push::<C>(group, contestant, Workload::Works, SMALL, move |plan| {
            works(&make(STREAM_RING_BYTES, SMALL)?, SMALL, plan)
        });
        self.push::<C>(group, contestant, Workload::Stops, SMALL, move |plan| {
            stops(&make(STREAM_RING_BYTES, SMALL)?, SMALL, plan)
        });
    }

    /// What a full ring costs.
    pub(crate) fn memory<C, M>(&mut self, group: Group, contestant: &'static str, make: M)
    where
        C: Contestant + 'static,
        M: Fn(usize, usize) -> Result<C, String> + Copy + Sync + 'static,
    {
        self.push::<C>(group, contestant, Workload::Memory, SMALL, move |plan| {
            memory(|| make(STREAM_RING_BYTES, SMALL), STREAM_RING_BYTES, SMALL, plan)
        });
    }

    /// A consumer with an observer beside it, and with a stranger.
    fn beside(&mut self, contestant: &'static str, setup: Setup) {
        self.push::<Ours<Push, Poll>>(
            Group::Ours,
            contestant,
            Workload::Beside(Neighbour::Observer),
            SMALL,
            move |plan| {
                let ring = Ours::<Push, Poll>::new(setup, STREAM_RING_BYTES, SMALL)?;
                beside(&ring, SMALL, &|go_on| read_along(ring.observe(), SMALL, go_on), plan)
            },
        );
        self.push::<Ours<Push, Poll>>(
            Group::Ours,
            contestant,
            Workload::Beside(Neighbour::Stranger),
            SMALL,
            move |plan| {
                let ring = Ours::<Push, Poll>::new(setup, STREAM_RING_BYTES, SMALL)?;
                beside(&ring, SMALL, &read_private_memory, plan)
            },
        );
    }

    fn blocked(&mut self, contestant: &'static str, setup: Setup) {
        let ring = move || Ours::<Push, Poll>::new(setup, SMALL_RING_BYTES, SMALL);
        self.push::<Ours<Push, Poll>>(Group::Ours, contestant, Workload::WakeUp, SMALL, move |plan| {
            wakeup(&ring()?, plan)
        });
        self.push::<Ours<Push, Poll>>(Group::Ours, contestant, Workload::IdleCpu, SMALL, move |plan| {
            idle(&ring()?, plan)
        });
    }

    fn push<C: Contestant>(
        &mut self,
        group: Group,
        contestant: &'static str,
        workload: Workload,
        record_bytes: usize,
        run: impl Fn(&Plan) -> Result<Repetition, String> + 'static,
    ) {
        let cell = Cell::new(group, contestant, workload, record_bytes, run);
        self.0.push(Cell { in_process: C::IN_PROCESS, ..cell });
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
