//! Work: what each process does while the time is taken.
//!
//! ```text
//!   start          + warm-up                    + seconds       + 1 s
//!     |-- warm-up ----|-- measured ----------------|-- backlog ----|  the last record
//! ```
//!
//! At full speed, producers look at the clock once a group of records, and the group's first record tells the time at which it was sent.
//! Paced, each record tells the time at which it was *meant* to be sent: record n of producer p at `begin + (n + p / producers) / rate`. Who
//! is late sends what is due at once, and in the end makes up for at most a second, so that no stop goes unnoticed by what it delayed.
//!
//! (I1) the receiving side takes the time, when it has read a record in full; (I2) the clock is read where a latency is told, and nowhere
//! else; (I3) a record in the wrong place ends it.

use super::clock::{now_ns, wait_until};
use super::job::{Job, Report};
use super::payload::{Check, Pool};
use super::plan::Plan;
use super::record::Recorder;
use shm_ring::{Consumer, Producer};

/// What a paced producer may be behind at the end.
const BACKLOG_NS: u64 = 1_000_000_000;
/// Records between two looks at the clock at full speed, and bytes, whichever are fewer.
const GROUP_RECORDS: usize = 32;
const GROUP_BYTES: usize = 64 << 10;
/// Records that are taken at once, with `--batch`.
const DRAIN_MAX: usize = 256;

/// Sends.
pub(super) fn produce(job: &Job, producer: &mut Producer, start_ns: u64) -> Result<Report, String> {
    let plan = &job.plan;
    let mut sender = Sender { producer, pool: Pool::new(plan.size_bytes, job.index), plan };
    let measured_ns = start_ns + plan.warm_up_ns;
    let pace = plan.rate.map(|rate| Pace::new(job, rate));
    match pace {
        None => {
            wait_until(start_ns, job.has_own_cpu);
            sender.rush(measured_ns)?;
        }
        Some(pace) => {
            sender.pace(job, pace.from(start_ns, plan.warm_up_ns), 0)?;
        }
    }
    let before = sender.pool.sums().records;
    sender.pool.measure();
    let end_ns = measured_ns + plan.window_ns;
    let unsent = match pace {
        None => sender.rush(end_ns).map(|()| 0)?,
        Some(pace) => sender.pace(job, pace.from(measured_ns, plan.window_ns), BACKLOG_NS)?,
    };
    if pace.is_some() {
        wait_until(end_ns, job.has_own_cpu);
    }
    let records = sender.pool.sums().records - before;
    sender.pool.end();
    sender.send(1, |_| 0)?;
    Ok(Report { sent: Some(sender.pool.sums()), records, unsent, ..Report::default() })
}

/// Receives.
pub(super) fn consume(job: &Job, consumer: &mut Consumer, start_ns: u64) -> Result<Report, String> {
    let plan = &job.plan;
    let mut check = Check::new(plan.size_bytes, plan.producers);
    let mut recorder = Recorder::new(plan, start_ns + plan.warm_up_ns);
    let mut take = |record: &[u8]| -> Result<bool, String> {
        let head = check.take(record)?;
        match head.sent_ns {
            _ if !head.is_measured => {}
            0 => recorder.count(),
            sent_ns => {
                let now_ns = now_ns();
                recorder.record(now_ns, now_ns.saturating_sub(sent_ns));
            }
        }
        Ok(check.is_ended())
    };
    if plan.batch == 1 {
        while !take(&consumer.poll().map_err(|error| error.to_string())?)? {}
    } else {
        let mut is_ended = Ok(false);
        while matches!(is_ended, Ok(false)) {
            let drained = consumer.drain(DRAIN_MAX, |frame| {
                if matches!(is_ended, Ok(false)) {
                    is_ended = take(&frame);
                }
            });
            if drained.map_err(|error| error.to_string())? == 0 {
                is_ended = take(&consumer.poll().map_err(|error| error.to_string())?);
            }
        }
        is_ended?;
    }
    recorder.end(now_ns());
    Ok(Report { received: check.into_sums(), ..recorder.into_report() })
}

/// Sends a record and waits for its return, over and over.
pub(super) fn ask(
    job: &Job,
    producer: &mut Producer,
    consumer: &mut Consumer,
    start_ns: u64,
) -> Result<Report, String> {
    let plan = &job.plan;
    let (mut pool, mut check) = (Pool::new(plan.size_bytes, 0), Check::new(plan.size_bytes, 1));
    let measured_ns = start_ns + plan.warm_up_ns;
    let end_ns = measured_ns + plan.window_ns;
    let mut recorder = Recorder::new(plan, measured_ns);
    let mut unsent = 0;
    let mut trip = |pool: &mut Pool, sent_ns| -> Result<(), String> {
        producer.push(pool.next(sent_ns)).map_err(|error| error.to_string())?;
        let answer = consumer.poll().map_err(|error| error.to_string())?;
        check.take(&answer).map(|_| ())
    };
    match plan.rate {
        None => {
            let mut last_ns = wait_until(start_ns, job.has_own_cpu);
            while last_ns < measured_ns {
                trip(&mut pool, 0)?;
                last_ns = now_ns();
            }
            pool.measure();
            while last_ns < end_ns {
                trip(&mut pool, 0)?;
                let now_ns = now_ns();
                recorder.record(now_ns, now_ns - last_ns);
                last_ns = now_ns;
            }
        }
        Some(rate) => {
            let pace = Pace::new(job, rate);
            pace.from(start_ns, plan.warm_up_ns)
                .each(job, 0, |_, due_ns| trip(&mut pool, due_ns).map(|()| 1))?;
            pool.measure();
            unsent = pace.from(measured_ns, plan.window_ns).each(job, BACKLOG_NS, |_, due_ns| {
                trip(&mut pool, due_ns)?;
                let now_ns = now_ns();
                recorder.record(now_ns, now_ns - due_ns);
                Ok(1)
            })?;
            wait_until(end_ns, job.has_own_cpu);
        }
    }
    recorder.end(now_ns());
    pool.end();
    trip(&mut pool, 0)?;
    let (sent, received) = (Some(pool.sums()), check.into_sums());
    Ok(Report { sent, received, unsent, ..recorder.into_report() })
}

/// Sends every record back.
pub(super) fn answer(job: &Job, consumer: &mut Consumer, producer: &mut Producer) -> Result<Report, String> {
    let mut check = Check::new(job.plan.size_bytes, 1);
    let mut records = 0;
    while !check.is_ended() {
        let question = consumer.poll().map_err(|error| error.to_string())?;
        records += u64::from(check.take(&question)?.is_measured);
        producer.push(&question).map_err(|error| error.to_string())?;
    }
    Ok(Report { received: check.into_sums(), records, ..Report::default() })
}

/// A producer and what it sends.
#[derive(Debug)]
struct Sender<'a> {
    producer: &'a mut Producer,
    pool: Pool,
    plan: &'a Plan,
}

impl Sender<'_> {
    /// Sends `n` records, a batch at most; `sent_ns` is the time that each of them tells.
    #[inline(always)]
    fn send(&mut self, n: usize, sent_ns: impl Fn(usize) -> u64) -> Result<(), String> {
        if n == 1 {
            let pushed = self.producer.push(self.pool.next(sent_ns(0)));
            return pushed.map(|_| ()).map_err(|error| error.to_string());
        }
        let mut batch =
            self.producer.batch(n, n * self.plan.size_bytes).map_err(|error| error.to_string())?;
        for i in 0..n {
            batch.push(self.pool.next(sent_ns(i))).map_err(|error| error.to_string())?;
        }
        batch.commit();
        Ok(())
    }

    /// As fast as it goes.
    fn rush(&mut self, until_ns: u64) -> Result<(), String> {
        let n_batch = usize::from(self.plan.batch);
        let group = (GROUP_BYTES / self.plan.size_bytes).clamp(1, GROUP_RECORDS);
        let n_batches = (group / n_batch).max(1);
        loop {
            let now_ns = now_ns();
            if now_ns >= until_ns {
                return Ok(());
            }
            self.send(n_batch, |i| if i == 0 { now_ns } else { 0 })?;
            for _ in 1..n_batches {
                self.send(n_batch, |_| 0)?;
            }
        }
    }

    /// At a pace; how many records it had no time for.
    fn pace(&mut self, job: &Job, schedule: Schedule, backlog_ns: u64) -> Result<u64, String> {
        let n_batch = u64::from(self.plan.batch);
        schedule.each(job, backlog_ns, |n, due_ns| {
            if n_batch == 1 {
                return self.send(1, |_| due_ns).map(|()| 1);
            }
            let last = schedule.records.min(n + n_batch);
            let now_ns = now_ns();
            let due = (n + 1..last).take_while(|m| schedule.due_ns(*m) <= now_ns).count() + 1;
            self.send(due, |i| schedule.due_ns(n + i as u64))?;
            Ok(due as u64)
        })
    }
}

/// When a producer's records are due.
#[derive(Clone, Copy, Debug)]
struct Pace {
    rate: u64,
    offset_ns: u64,
}

impl Pace {
    /// Several producers take turns.
    fn new(job: &Job, rate: u64) -> Self {
        let offset_ns = 1_000_000_000 * u64::from(job.index) / (rate * u64::from(job.plan.producers));
        Self { rate, offset_ns }
    }

    /// The records of a span of time.
    fn from(self, begin_ns: u64, span_ns: u64) -> Schedule {
        let records = u128::from(span_ns) * u128::from(self.rate) / 1_000_000_000;
        let records = u64::try_from(records).expect("the plan has fewer than 2^34 records");
        Schedule { begin_ns: begin_ns + self.offset_ns, rate: self.rate, records, end_ns: begin_ns + span_ns }
    }
}

/// The records of a span of time, and when each is due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    begin_ns: u64,
    rate: u64,
    records: u64,
    end_ns: u64,
}

impl Schedule {
    #[inline(always)]
    fn due_ns(&self, n: u64) -> u64 {
        self.begin_ns + n * 1_000_000_000 / self.rate
    }

    /// Calls for a record when it is due, or later, and is told how many were sent; how many there was no time for.
    #[inline(always)]
    fn each(
        self,
        job: &Job,
        backlog_ns: u64,
        mut send: impl FnMut(u64, u64) -> Result<u64, String>,
    ) -> Result<u64, String> {
        let mut n = 0;
        while n < self.records {
            let due_ns = self.due_ns(n);
            if wait_until(due_ns, job.has_own_cpu) > self.end_ns + backlog_ns {
                break;
            }
            n += send(n, due_ns)?;
        }
        Ok(self.records - n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: paced records are due evenly, producers take turns, and there are as many as rate and time say. Method: look at schedules.
    #[test]
    fn a_schedule_is_even() {
        let pace = Pace { rate: 3, offset_ns: 100 };
        let schedule = pace.from(1_000, 2_000_000_000);
        assert_eq!(schedule.records, 6);
        assert_eq!([0, 1, 3].map(|n| schedule.due_ns(n)), [1_100, 333_334_433, 1_000_001_100]);
        assert_eq!(
            Pace { rate: 1_000_000_000, offset_ns: 0 }.from(0, 10_000_000_000).records,
            10_000_000_000
        );
        assert_eq!(Pace { rate: 1, offset_ns: 0 }.from(0, 999_999_999).records, 0);
    }
}
