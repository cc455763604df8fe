//! Ours: the library as a contestant, through its public API only.
//!
//! | contestant | sends with | receives with |
//! |------------|------------|---------------|
//! | [`Single`] | `push` | `poll` |
//! | [`Batched`] | `batch`, 32 records | `drain` |
//! | [`Observed`] | `push`, nobody waits for the reader | `Observer::try_next`, which may miss records |
//!
//! Anonymous rings, inherited across the fork; each side attaches in its own process. The minimal rings have no metadata,
//! so the headline figures are without as well.

use shm_ring::{Consumer, Observer, PollError, Producer, Ring, RingOptions, Wait};

use crate::workload::{Contestant, Receiver, Records, Sender};

/// How a ring is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Exclusive: one producer, no CAS.
    pub single_producer: bool,
    /// Time stamp, sequence, level and kind of each record.
    pub metadata: bool,
    /// The consumer's back-off at the edge; on for every user, switched off to show what it does.
    pub edge_backoff: bool,
    /// How both sides wait.
    pub wait: Wait,
}

impl Setup {
    /// One producer, no metadata, spinning.
    pub const EXCLUSIVE: Self =
        Self { single_producer: true, metadata: false, edge_backoff: true, wait: Wait::Spin };
    /// Producers share the claim, even if there is only one.
    pub const SHARED: Self = Self { single_producer: false, ..Self::EXCLUSIVE };

    /// With metadata.
    pub const fn with_metadata(self) -> Self {
        Self { metadata: true, ..self }
    }

    /// Without the edge back-off.
    pub const fn without_backoff(self) -> Self {
        Self { edge_backoff: false, ..self }
    }

    /// With another way to wait.
    pub const fn waiting(self, wait: Wait) -> Self {
        Self { wait, ..self }
    }

    /// A new anonymous ring.
    ///
    /// # Errors
    ///
    /// What the library says.
    pub fn ring(self, capacity_bytes: usize) -> Result<Ring, String> {
        let options =
            RingOptions::new().capacity(capacity_bytes as u64).metadata(self.metadata).wait(self.wait);
        let options = if self.single_producer { options.single_producer() } else { options };
        options.anonymous().map_err(|error| error.to_string())
    }
}

/// `push` and `poll`.
#[derive(Debug)]
pub struct Single {
    ring: Ring,
    setup: Setup,
}

impl Single {
    /// # Errors
    ///
    /// What the library says.
    pub fn new(setup: Setup, capacity_bytes: usize) -> Result<Self, String> {
        Ok(Self { ring: setup.ring(capacity_bytes)?, setup })
    }
}

impl Contestant for Single {
    fn sender(&self) -> impl Sender {
        Push { producer: producer(&self.ring) }
    }

    fn receiver(&self) -> impl Receiver {
        Poll { consumer: consumer(&self.ring, self.setup) }
    }
}

/// `batch` and `drain`.
#[derive(Debug)]
pub struct Batched {
    ring: Ring,
    setup: Setup,
    record_bytes: usize,
    n_batch: usize,
}

impl Batched {
    /// Batches of `n_batch` records of `record_bytes`.
    ///
    /// # Errors
    ///
    /// What the library says.
    pub fn new(
        setup: Setup,
        capacity_bytes: usize,
        record_bytes: usize,
        n_batch: usize,
    ) -> Result<Self, String> {
        Ok(Self { ring: setup.ring(capacity_bytes)?, setup, record_bytes, n_batch })
    }
}

impl Contestant for Batched {
    fn sender(&self) -> impl Sender {
        Batch { producer: producer(&self.ring), record_bytes: self.record_bytes, n_batch: self.n_batch }
    }

    fn receiver(&self) -> impl Receiver {
        Drain { consumer: consumer(&self.ring, self.setup) }
    }
}

/// `push` and a reader that holds nothing.
#[derive(Debug)]
pub struct Observed {
    ring: Ring,
}

impl Observed {
    /// # Errors
    ///
    /// What the library says.
    pub fn new(setup: Setup, capacity_bytes: usize) -> Result<Self, String> {
        Ok(Self { ring: setup.ring(capacity_bytes)? })
    }
}

impl Contestant for Observed {
    const LOSSY: bool = true;

    fn sender(&self) -> impl Sender {
        Push { producer: producer(&self.ring) }
    }

    fn receiver(&self) -> impl Receiver {
        Next { observer: self.ring.observer().expect("an observer"), record: Vec::new() }
    }
}

fn producer(ring: &Ring) -> Producer {
    ring.producer().expect("a producer")
}

fn consumer(ring: &Ring, setup: Setup) -> Consumer {
    let mut consumer = ring.consumer("bench").expect("a consumer");
    consumer.set_edge_backoff(setup.edge_backoff);
    consumer
}

struct Push {
    producer: Producer,
}

impl Sender for Push {
    #[inline(always)]
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        for _ in 0..n_records {
            self.producer.push(records.next_record()).expect("push");
        }
    }
}

struct Batch {
    producer: Producer,
    record_bytes: usize,
    n_batch: usize,
}

impl Sender for Batch {
    #[inline(always)]
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        let mut left = n_records;
        while left > 0 {
            let n = left.min(self.n_batch);
            let mut batch = self.producer.batch(n, n * self.record_bytes).expect("batch");
            for _ in 0..n {
                batch.push(records.next_record()).expect("a batch of the size that was asked for");
            }
            batch.commit();
            left -= n;
        }
    }
}

struct Poll {
    consumer: Consumer,
}

impl Receiver for Poll {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        each(&self.consumer.poll().expect("poll"));
    }
}

struct Drain {
    consumer: Consumer,
}

/// More than a batch, less than an eighth of a ring of small records.
const DRAIN_MAX: usize = 256;

impl Receiver for Drain {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        self.consumer.drain(DRAIN_MAX, |frame| each(&frame)).expect("drain");
    }
}

struct Next {
    observer: Observer,
    record: Vec<u8>,
}

impl Receiver for Next {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        match self.observer.try_next(&mut self.record) {
            Ok(Some(_)) => each(&self.record),
            // The gap shows in the sequence of the next record, where it is counted.
            Ok(None) | Err(PollError::Lapped { .. }) => {}
            Err(error) => panic!("try_next: {error}"),
        }
    }
}
