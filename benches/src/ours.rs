//! Ours: the library as a contestant, through its public API only.
//!
//! | sends by | | receives by | |
//! |----------|-|-------------|-|
//! | [`Push`] | `push`: a copy | [`Poll`] | `poll`: one record, waits for it |
//! | [`InPlace`] | `claim`, written in place, `commit` | [`Drain`] | `drain`: what is there |
//! | [`Batch`] | `batch` of up to 32 records | [`Observe`] | `Observer::try_next`: a copy; nobody waits for it, so it may miss records |
//!
//! Anonymous rings, inherited across the fork; each side attaches in its own process. The minimal rings have no metadata, so the
//! headline figures are without as well.

use std::marker::PhantomData;

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

/// A ring and the ends that are attached to it: `Ours<Push, Poll>`.
#[derive(Debug)]
pub struct Ours<S, R> {
    ring: Ring,
    setup: Setup,
    record_bytes: usize,
    ends: PhantomData<fn() -> (S, R)>,
}

impl<S, R> Ours<S, R> {
    /// A ring for records of `record_bytes`.
    ///
    /// # Errors
    ///
    /// What the library says.
    pub fn new(setup: Setup, capacity_bytes: usize, record_bytes: usize) -> Result<Self, String> {
        Ok(Self { ring: setup.ring(capacity_bytes)?, setup, record_bytes, ends: PhantomData })
    }

    /// Attaches an observer beside whoever else is there.
    pub fn observe(&self) -> Observe {
        Observe::attach(&self.ring, self.setup, 0, self.record_bytes)
    }
}

/// One end of a ring, attached in the process that uses it.
pub trait End {
    /// Whether it may miss records.
    const LOSSY: bool = false;

    /// Attaches; `seat` counts those of a kind.
    fn attach(ring: &Ring, setup: Setup, seat: usize, record_bytes: usize) -> Self;
}

impl<S: End + Sender, R: End + Receiver> Contestant for Ours<S, R> {
    const LOSSY: bool = R::LOSSY;

    fn sender(&self) -> impl Sender {
        self.sender_at(0)
    }

    fn receiver(&self) -> impl Receiver {
        self.receiver_at(0)
    }

    fn sender_at(&self, seat: usize) -> impl Sender {
        S::attach(&self.ring, self.setup, seat, self.record_bytes)
    }

    fn receiver_at(&self, seat: usize) -> impl Receiver {
        R::attach(&self.ring, self.setup, seat, self.record_bytes)
    }
}

fn producer(ring: &Ring) -> Producer {
    ring.producer().unwrap_or_else(|error| panic!("a producer: {error}"))
}

fn consumer(ring: &Ring, setup: Setup, seat: usize) -> Consumer {
    let consumer = ring.consumer(&format!("bench-{seat}"));
    let mut consumer = consumer.unwrap_or_else(|error| panic!("a consumer: {error}"));
    consumer.set_edge_backoff(setup.edge_backoff);
    consumer
}

/// Sends by `push`.
#[derive(Debug)]
pub struct Push {
    producer: Producer,
}

impl End for Push {
    fn attach(ring: &Ring, _: Setup, _: usize, _: usize) -> Self {
        Self { producer: producer(ring) }
    }
}

impl Sender for Push {
    #[inline(always)]
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        for _ in 0..n_records {
            self.producer.push(records.next_record()).expect("push");
        }
    }
}

/// Sends by `claim` and `commit`.
#[derive(Debug)]
pub struct InPlace {
    producer: Producer,
}

impl End for InPlace {
    fn attach(ring: &Ring, _: Setup, _: usize, _: usize) -> Self {
        Self { producer: producer(ring) }
    }
}

impl Sender for InPlace {
    #[inline(always)]
    fn send(&mut self, records: &mut impl Records, n_records: usize) {
        for _ in 0..n_records {
            let record = records.next_record();
            let mut claim = self.producer.claim(record.len()).expect("claim");
            claim.copy_from_slice(record);
            claim.commit();
        }
    }
}

/// Sends by `batch`.
#[derive(Debug)]
pub struct Batch {
    producer: Producer,
    record_bytes: usize,
    n_batch: usize,
}

/// Records of a batch, if they are small.
pub const N_BATCH: usize = 32;
/// A batch is not longer than this, so that several fit into the ring.
const BATCH_BYTES_MAX: usize = 256 << 10;

/// How many records of a size make a batch.
pub fn batch_of(record_bytes: usize) -> usize {
    N_BATCH.min(BATCH_BYTES_MAX / record_bytes)
}

impl End for Batch {
    fn attach(ring: &Ring, _: Setup, _: usize, record_bytes: usize) -> Self {
        Self { producer: producer(ring), record_bytes, n_batch: batch_of(record_bytes) }
    }
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

/// Receives by `poll`.
#[derive(Debug)]
pub struct Poll {
    consumer: Consumer,
}

impl End for Poll {
    fn attach(ring: &Ring, setup: Setup, seat: usize, _: usize) -> Self {
        Self { consumer: consumer(ring, setup, seat) }
    }
}

impl Receiver for Poll {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        each(&self.consumer.poll().expect("poll"));
    }
}

/// Receives by `drain`.
#[derive(Debug)]
pub struct Drain {
    consumer: Consumer,
}

/// More than a batch, less than an eighth of a ring of small records.
const DRAIN_MAX: usize = 256;

impl End for Drain {
    fn attach(ring: &Ring, setup: Setup, seat: usize, _: usize) -> Self {
        Self { consumer: consumer(ring, setup, seat) }
    }
}

impl Receiver for Drain {
    #[inline(always)]
    fn receive(&mut self, mut each: impl FnMut(&[u8])) {
        self.consumer.drain(DRAIN_MAX, |frame| each(&frame)).expect("drain");
    }
}

/// Receives by `Observer::try_next`.
#[derive(Debug)]
pub struct Observe {
    observer: Observer,
    record: Vec<u8>,
}

impl End for Observe {
    const LOSSY: bool = true;

    fn attach(ring: &Ring, _: Setup, _: usize, _: usize) -> Self {
        let observer = ring.observer().unwrap_or_else(|error| panic!("an observer: {error}"));
        Self { observer, record: Vec::new() }
    }
}

impl Receiver for Observe {
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
