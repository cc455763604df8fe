//! Figures: the result. Everything compared, added up, and related to the floor.
//!
//! (I1) they exist only when every consumer received what every producer sent; (I2) what limits their meaning stands among their notes.

use super::floor::Reading;
use super::job::{Interval, Report};
use super::machine::{Machine, Placement};
use super::payload::Sums;
use super::plan::Plan;
use super::record;
use super::units::{short, show_bytes_rate, show_percent, show_rate};
use crate::args::Workload;
use crate::failure::{Code, Failure};
use crate::size::show_count;
use hdrhistogram::Histogram;

/// Two looks at one placement differ by less.
const AGREE: f64 = 1.3;
/// A process that waited longer for its CPU was disturbed.
const QUEUED: f64 = 0.02;
/// The percentiles that are told.
pub(super) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// What was measured.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) plan: Plan,
    pub(super) machine: Machine,
    pub(super) is_pinned: bool,
    pub(super) floor: Floor,
    pub(super) kind: Kind,
    /// Of all who measured it.
    pub(super) latency: Histogram<u64>,
    /// Sent in the measured time.
    pub(super) records: u64,
    pub(super) unsent: u64,
    /// What the slowest consumer got, or round trips.
    pub(super) records_per_second: f64,
    /// What came in the measured time and after it, over all who measured latency.
    pub(super) intervals: Vec<Interval>,
    pub(super) producers: Vec<Process>,
    pub(super) consumers: Vec<Process>,
    pub(super) notes: Vec<String>,
}

/// What a latency is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// There and back.
    RoundTrip,
    /// From the time at which it was to be sent until it was read.
    OneWay,
    /// The same at full speed, where most of it is the queue's.
    Queue,
}

/// One process's part.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) cpu: Option<usize>,
    pub(super) records: u64,
    /// `None`: not measured on this side.
    pub(super) records_per_second: Option<f64>,
    pub(super) cpu_ns: u64,
    pub(super) queued_ns: u64,
    /// `None`: not measured on this side.
    pub(super) latency: Option<Histogram<u64>>,
}

/// The machine before and after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    pub(super) before: Reading,
    pub(super) after: Reading,
}

impl Floor {
    /// A bare trip.
    pub(super) fn line_ns(&self) -> f64 {
        f64::midpoint(self.before.line_mean_ns, self.after.line_mean_ns)
    }

    /// The median of trips that were timed one by one.
    pub(super) fn line_p50_ns(&self) -> f64 {
        f64::midpoint(self.before.line_p50_ns, self.after.line_p50_ns)
    }

    /// Bytes per second.
    pub(super) fn copy_rate(&self) -> f64 {
        f64::midpoint(self.before.copy_rate, self.after.copy_rate)
    }

    /// Whether the two looks at the line disagree.
    fn line_moved(&self) -> bool {
        disagree(self.before.line_mean_ns, self.after.line_mean_ns)
    }

    /// Whether the two looks at the copy disagree.
    fn copy_moved(&self) -> bool {
        disagree(self.before.copy_rate, self.after.copy_rate)
    }
}

impl Figures {
    /// From what the processes reported, producers first; or why there are none.
    pub(super) fn new(
        plan: Plan,
        machine: Machine,
        placement: &Placement,
        [before, after]: [Reading; 2],
        who: Vec<(u32, Option<usize>)>,
        reports: Vec<Report>,
    ) -> Result<Self, Failure> {
        let n_producers = usize::from(plan.producers);
        compare(&plan, &reports)?;
        let kind = match (plan.workload, plan.rate) {
            (Workload::Pingpong, _) => Kind::RoundTrip,
            (_, Some(_)) => Kind::OneWay,
            (_, None) => Kind::Queue,
        };
        let mut latency = record::empty();
        let mut intervals: Vec<Interval> = Vec::new();
        for report in &reports {
            for (value, n) in &report.latencies {
                latency.saturating_record_n(*value, *n);
            }
            let longer = intervals.len().max(report.intervals.len());
            intervals.resize(longer, Interval::default());
            for (all, one) in intervals.iter_mut().zip(&report.intervals) {
                all.records += one.records;
                all.latency_max_ns = all.latency_max_ns.max(one.latency_max_ns);
            }
        }
        let rates = reports.iter().filter_map(rate_of);
        let records_per_second = rates.min_by(f64::total_cmp).unwrap_or(0.0);
        let (records, unsent) = reports[..n_producers]
            .iter()
            .fold((0, 0), |(records, unsent), report| (records + report.records, unsent + report.unsent));
        let mut processes: Vec<_> =
            who.iter().zip(&reports).map(|((pid, cpu), report)| Process::new(*pid, *cpu, report)).collect();
        let consumers = processes.split_off(n_producers);
        let mut figures = Self {
            plan,
            machine,
            is_pinned: placement.is_pinned,
            floor: Floor { before, after },
            kind,
            latency,
            records,
            unsent,
            records_per_second,
            intervals,
            producers: processes,
            consumers,
            notes: Vec::new(),
        };
        figures.notes = figures.what_to_know(placement);
        if figures.latency.is_empty() {
            let message = "no record was measured: use more --seconds or a higher --rate";
            return Err(Failure::new(Code::Runtime, message));
        }
        Ok(figures)
    }

    /// Payload.
    pub(super) fn bytes_per_second(&self) -> f64 {
        self.records_per_second * self.plan.size_bytes as f64
    }

    /// The latency that nothing can be below, if there is one.
    pub(super) fn latency_floor_ns(&self) -> Option<f64> {
        match self.kind {
            Kind::RoundTrip => Some(self.floor.line_p50_ns()),
            Kind::OneWay => Some(self.floor.line_ns() / 2.0),
            Kind::Queue => None,
        }
    }

    /// The median to the floor's.
    pub(super) fn latency_to_floor(&self) -> Option<f64> {
        let p50_ns = self.latency.value_at_quantile(0.5) as f64;
        self.latency_floor_ns().map(|floor_ns| p50_ns / floor_ns)
    }

    /// Bytes per second to those of a bare copy, where as many were sent as went through.
    pub(super) fn throughput_to_floor(&self) -> Option<f64> {
        (self.kind == Kind::Queue).then(|| self.bytes_per_second() / self.floor.copy_rate())
    }

    /// How many got each record.
    pub(super) fn n_receivers(&self) -> u64 {
        if self.kind == Kind::RoundTrip { 1 } else { self.consumers.len() as u64 }
    }

    /// Whether what they are held against changed while they were taken.
    pub(super) fn has_moved(&self) -> bool {
        self.floor.line_moved() || self.kind == Kind::Queue && self.floor.copy_moved()
    }

    /// Of the time that it took, that of `ns`.
    pub(super) fn part(&self, ns: u64) -> f64 {
        ns as f64 / (self.plan.warm_up_ns + self.plan.window_ns) as f64
    }

    fn what_to_know(&self, placement: &Placement) -> Vec<String> {
        let mut notes = Vec::new();
        let n_processes = self.producers.len() + self.consumers.len();
        if !self.is_pinned {
            notes.push(format!(
                "{n_processes} processes shared {}: they took turns, and part of the latency is the scheduler's",
                show_count(placement.n_cpus() as u64, "CPU", "CPUs")
            ));
        }
        let queued = |process: &&Process| self.part(process.queued_ns);
        let most =
            self.producers.iter().chain(&self.consumers).max_by(|a, b| queued(a).total_cmp(&queued(b)));
        if let Some(part) =
            most.map(|process| queued(&process)).filter(|part| self.is_pinned && *part > QUEUED)
        {
            notes.push(format!(
                "other programs had the CPUs meanwhile: a process waited for its own for {} of the time; run it on a quiet machine",
                show_percent(part)
            ));
        }
        if self.floor.line_moved() {
            notes.push(format!(
                "the processors moved while this ran, or others used them: the bare line took {:.0} ns before and {:.0} ns after; \
                 run it again",
                self.floor.before.line_mean_ns, self.floor.after.line_mean_ns
            ));
        }
        if self.kind == Kind::Queue && self.floor.copy_moved() {
            notes.push(format!(
                "the processors moved while this ran, or others used them: the bare copy did {} before and {} after; run it again",
                show_bytes_rate(self.floor.before.copy_rate),
                show_bytes_rate(self.floor.after.copy_rate)
            ));
        }
        if self.kind == Kind::Queue {
            let note = "sent as fast as it goes: latency is time spent in the queue; use --rate to measure the ring's own";
            notes.push(note.to_owned());
        }
        if self.unsent > 0 {
            let wanted = self.plan.rate.unwrap_or(0) * u64::from(self.plan.producers);
            notes.push(format!(
                "the rate of {} was not reached: {} could not be sent, and latency is mostly backlog",
                short(&show_rate(wanted as f64)),
                show_count(self.unsent, "record", "records")
            ));
        }
        notes
    }
}

impl Process {
    fn new(pid: u32, cpu: Option<usize>, report: &Report) -> Self {
        let latency = (!report.latencies.is_empty()).then(|| {
            let mut latency = record::empty();
            report.latencies.iter().for_each(|(value, n)| latency.saturating_record_n(*value, *n));
            latency
        });
        Self {
            pid,
            cpu,
            records: report.records,
            records_per_second: rate_of(report),
            cpu_ns: report.cpu_ns,
            queued_ns: report.queued_ns,
            latency,
        }
    }
}

/// Whether two looks at the floor can't be of one placement.
fn disagree(a: f64, b: f64) -> bool {
    a.max(b) > AGREE * a.min(b)
}

/// What a process received in a second, if it took the time.
fn rate_of(report: &Report) -> Option<f64> {
    (report.window_ns > 0).then(|| report.records as f64 * 1e9 / report.window_ns as f64)
}

/// Holds what was received against what was sent.
fn compare(plan: &Plan, reports: &[Report]) -> Result<(), Failure> {
    let (producers, consumers) = reports.split_at(plan.producers.into());
    let sent: Vec<Sums> = producers.iter().map(|report| report.sent.unwrap_or_default()).collect();
    for (index, consumer) in consumers.iter().enumerate() {
        differs(&format!("consumer {index}"), &sent, &consumer.received)?;
    }
    if plan.workload == Workload::Pingpong {
        // What came back is what was sent.
        differs("producer 0", &sent, &producers[0].received)?;
    }
    Ok(())
}

fn differs(who: &str, sent: &[Sums], received: &[Sums]) -> Result<(), Failure> {
    for (producer, sent) in sent.iter().enumerate() {
        let received = received.get(producer).copied().unwrap_or_default();
        if received != *sent {
            let message = format!(
                "{who} did not receive what producer {producer} sent: expected {} records with checksum {:016x}, found {} with {:016x}: \
                 no figures",
                sent.records, sent.sum, received.records, received.sum
            );
            return Err(Failure::new(Code::Loss, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what differs in number or in bytes ends in code 6 and names both. Method: one record less; another sum; nothing at all.
    #[test]
    fn what_was_not_received_as_sent_is_an_error() {
        let sent = [Sums { records: 5, sum: 7 }, Sums { records: 6, sum: 8 }];
        assert!(differs("consumer 0", &sent, &sent).is_ok());
        for received in [
            &[sent[0], Sums { records: 5, sum: 8 }][..],
            &[sent[0], Sums { records: 6, sum: 9 }],
            &[sent[0]],
            &[],
        ] {
            let failure = differs("consumer 0", &sent, received).unwrap_err();
            assert_eq!(failure.code, Code::Loss);
            assert!(failure.message.contains("consumer 0 did not receive"), "{}", failure.message);
        }
    }
}
