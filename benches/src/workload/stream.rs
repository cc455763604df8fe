//! Stream: one process sends as fast as it can, the other reads everything.
//!
//! The producer sends for the warm-up, then for the window, then one last record; the consumer takes the time between the
//! first record of the window and that last one, so what is left in the ring counts for nobody.

use super::{Check, Contestant, Desk, Figures, Phase, Plan, Pool, Receiver, Repetition, Sender, Side};
use crate::clock::{Clock, ticks};

/// Records that arrived within the window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rate {
    /// How many.
    pub n_records: u64,
    /// How many a lossy reader missed meanwhile; 0 for everybody else.
    pub n_lost: u64,
    /// The window, at the consumer.
    pub seconds: f64,
}

impl Rate {
    /// Records that arrived, per second.
    pub fn per_second(&self) -> f64 {
        self.n_records as f64 / self.seconds
    }

    /// Of all records sent within the window, the part that was missed.
    pub fn lost_part(&self) -> f64 {
        self.n_lost as f64 / (self.n_lost + self.n_records).max(1) as f64
    }
}

/// The producer looks at the clock after so many bytes, or so many records if these are more bytes.
const BYTES_BETWEEN_LOOKS: usize = 16 << 10;
const RECORDS_BETWEEN_LOOKS_MIN: usize = 32;

/// One to one.
///
/// # Errors
///
/// What went wrong in a child; a count or an XOR that differs.
pub fn stream<C: Contestant>(ring: &C, record_bytes: usize, plan: &Plan) -> Result<Repetition, String> {
    let desk = Desk::new();
    let producer = || {
        let mut sender = ring.sender();
        let before = desk.line.ping(&plan.clock);
        let mut pool = Pool::new(record_bytes);
        produce(&mut sender, &mut pool, record_bytes, plan);
        desk.leave(pool.sums());
        let after = desk.line.ping(&plan.clock);
        Side::with_brackets(before, after)
    };
    let consumer = || {
        let mut receiver = ring.receiver();
        desk.line.echo();
        let mut check = Check::new(record_bytes, C::LOSSY);
        let rate = consume(&mut receiver, &mut check, &plan.clock);
        desk.line.echo();
        let sent = desk.left();
        assert_eq!(check.sums.n_records + check.n_lost, sent.n_records, "count differs");
        assert!(
            C::LOSSY || check.sums == sent,
            "XOR differs: {:x?} was sent, {:x?} arrived",
            sent,
            check.sums
        );
        Side::default().with_figures(Figures::Rate(rate))
    };
    plan.run(producer, consumer)
}

fn produce(sender: &mut impl Sender, pool: &mut Pool, record_bytes: usize, plan: &Plan) {
    let n_between_looks = (BYTES_BETWEEN_LOOKS / record_bytes).max(RECORDS_BETWEEN_LOOKS_MIN);
    for (phase, duration) in [(Phase::WarmUp, plan.warm_up), (Phase::Window, plan.window)] {
        pool.enter(phase);
        let end = ticks() + plan.clock.ticks_in(duration);
        while ticks() < end {
            sender.send(pool, n_between_looks);
        }
    }
    pool.enter(Phase::End);
    sender.send(pool, 1);
    sender.flush();
}

fn consume(receiver: &mut impl Receiver, check: &mut Check, clock: &Clock) -> Rate {
    let mut phase = Phase::WarmUp;
    let mut began = None;
    while phase != Phase::End {
        receiver.receive(|record| {
            if let Some(begins) = check.take(record) {
                phase = begins;
                if phase == Phase::Window {
                    began = Some((ticks(), check.sums.n_records, check.n_lost));
                }
            }
        });
    }
    let ended = ticks();
    let (began, n_before, n_lost_before) = began.expect("no record of the window arrived");
    Rate {
        n_records: check.sums.n_records - n_before,
        n_lost: check.n_lost - n_lost_before,
        seconds: clock.ns(ended - began) / 1e9,
    }
}
