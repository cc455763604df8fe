//! Recorder: latencies and counts of the measured time, on the side that receives.
//!
//! (I1) a record that tells no time is counted in the interval of the next one that does; (I2) nothing is allocated within the time that
//! was asked for.

use super::job::{Interval, Report};
use super::plan::{INTERVAL_NS, Plan};
use hdrhistogram::Histogram;

/// Three digits up to an hour: more is an hour.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// Counts.
#[derive(Debug)]
pub(super) struct Recorder {
    latencies: Histogram<u64>,
    intervals: Vec<Interval>,
    begin_ns: u64,
    /// When the first record came, or was due.
    first_ns: u64,
    last_ns: u64,
    records: u64,
    /// Of these, in no interval yet.
    waiting: u64,
}

impl Recorder {
    /// For records from this moment on.
    ///
    /// Paced ones are due from then on. At full speed, those of the warm-up that fill the ring come first, as the last ones of the measured
    /// time come after its end.
    pub(super) fn new(plan: &Plan, begin_ns: u64) -> Self {
        // And as long again for what comes late; more than that is allocated when it comes.
        let n_intervals = usize::try_from(2 * plan.window_ns / INTERVAL_NS + 20).unwrap_or(0);
        Self {
            latencies: empty(),
            intervals: Vec::with_capacity(n_intervals),
            begin_ns,
            first_ns: if plan.rate.is_some() { begin_ns } else { 0 },
            last_ns: 0,
            records: 0,
            waiting: 0,
        }
    }

    /// A record that tells no time came.
    #[inline(always)]
    pub(super) fn count(&mut self) {
        self.records += 1;
        self.waiting += 1;
    }

    /// A record came, so late.
    #[inline(always)]
    pub(super) fn record(&mut self, now_ns: u64, latency_ns: u64) {
        if self.first_ns == 0 {
            self.first_ns = now_ns;
        }
        self.records += 1;
        self.waiting += 1;
        self.latencies.saturating_record(latency_ns);
        let interval = self.interval(now_ns);
        interval.latency_max_ns = interval.latency_max_ns.max(latency_ns);
    }

    /// The last one has come.
    pub(super) fn end(&mut self, now_ns: u64) {
        self.last_ns = now_ns;
        if self.waiting > 0 {
            self.interval(now_ns);
        }
    }

    /// What it saw.
    pub(super) fn into_report(self) -> Report {
        let found = self.latencies.iter_recorded();
        Report {
            records: self.records,
            window_ns: if self.records == 0 { 0 } else { self.last_ns - self.first_ns },
            latencies: found.map(|step| (step.value_iterated_to(), step.count_at_value())).collect(),
            intervals: self.intervals,
            ..Report::default()
        }
    }

    /// The one of now, with everything that waited for it.
    #[inline(always)]
    fn interval(&mut self, now_ns: u64) -> &mut Interval {
        let number = usize::try_from(now_ns.saturating_sub(self.begin_ns) / INTERVAL_NS).unwrap_or(0);
        if self.intervals.len() <= number {
            self.intervals.resize(number + 1, Interval::default());
        }
        let interval = &mut self.intervals[number];
        interval.records += std::mem::take(&mut self.waiting);
        interval
    }
}

/// Room for latencies.
pub(super) fn empty() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_NS_MAX, 3).expect("an hour with 3 digits is allowed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Mode, Waiting, Workload};

    fn plan() -> Plan {
        Plan {
            workload: Workload::Stream,
            size_bytes: 64,
            producers: 1,
            consumers: 1,
            mode: Mode::Exclusive,
            wait: Waiting::Spin,
            rate: None,
            batch: 1,
            capacity_bytes: 4096,
            metadata: false,
            window_ns: 300_000_000,
            warm_up_ns: 0,
        }
    }

    // Goal: every record is in one interval, and its latency in one place. Method: records with and without a time, around the borders.
    #[test]
    fn every_record_is_counted_once() {
        let mut recorder = Recorder::new(&plan(), 1_000);
        recorder.record(1_500, 10);
        recorder.count();
        recorder.record(100_000_999, 30);
        recorder.count();
        recorder.record(200_001_000, 20);
        recorder.count();
        recorder.end(200_002_000);
        let report = recorder.into_report();
        let counts: Vec<_> = report.intervals.iter().map(|i| (i.records, i.latency_max_ns)).collect();
        assert_eq!(counts, [(3, 30), (0, 0), (3, 20)]);
        assert_eq!((report.records, report.window_ns), (6, 200_000_500));
        assert_eq!(report.latencies, [(10, 1), (20, 1), (30, 1)]);
    }
}
