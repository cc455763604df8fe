//! Tests: what a report could get wrong without anybody noticing.

use super::tables::markdown;
use super::targets::targets;
use super::verdict::{Target, Verdict};
use super::*;
use crate::cells::{SMALL, Waits};
use crate::floor::Brackets;
use crate::workload::records::Sums;

fn trips_of(ns: f64) -> Trips {
    Trips { p50_ns: ns, p99_ns: ns, p999_ns: 2.0 * ns, max_ns: 9.0 * ns, mean_ns: ns, n_trips: 10 }
}

fn repetition(l1_before_ns: f64, l1_after_ns: f64, figures: Figures) -> Result<Repetition, String> {
    Ok(Repetition {
        brackets: Brackets { before: trips_of(l1_before_ns), after: trips_of(l1_after_ns) },
        sums: Sums { n_records: 7, xor: 0xabc },
        figures,
        queued_part: 0.0,
        clock_read_ns: 20.0,
    })
}

/// A repetition in which L1 did not change, with so many records in a second.
fn steady(l1_ns: f64, n_records: u64) -> Result<Repetition, String> {
    repetition(l1_ns, l1_ns, Figures::Rate(Rate { n_records, seconds: 1.0, ..Rate::default() }))
}

fn cell(
    group: Group,
    contestant: &'static str,
    workload: Workload,
    repetitions: Vec<Result<Repetition, String>>,
) -> Cell {
    let mut cell = Cell::new(group, contestant, workload, SMALL, |_| unreachable!("it is not run"));
    cell.repetitions = repetitions;
    cell
}

/// A ratio takes both of its sides from one placement, the same that its figures are of.
#[test]
fn ratios_are_of_one_placement() {
    let ours = vec![steady(130.0, 80), steady(570.0, 10), steady(130.0, 60)];
    let best = vec![steady(130.0, 100), steady(570.0, 40), steady(130.0, 100)];
    let cells = [
        cell(Group::Ours, "ours_exclusive", Workload::Stream, ours),
        cell(Group::Minimal, "raw_tail", Workload::Stream, best),
    ];
    let results = Results::new(&cells, QUEUED_PART_MAX);
    let ratios: Vec<_> = results
        .views()
        .map(|view| {
            let best = view.best_minimal(SMALL).expect("a minimal ring");
            (view.label(), view.rate_ratio(&cells[0], best))
        })
        .collect();
    let near = Spread { median: 0.7, min: 0.6, max: 0.8, n: 2 };
    let far = Spread { median: 0.25, min: 0.25, max: 0.25, n: 1 };
    assert_eq!(ratios, [("near", Some(near)), ("far", Some(far))]);
}

/// A repetition whose brackets disagree, or which fits no placement, or in which somebody else had the processor, is dropped and counted.
#[test]
fn what_does_not_count_is_dropped_and_counted() {
    let rate = Figures::Rate(Rate { n_records: 1_000_000, seconds: 1.0, ..Rate::default() });
    let queued = steady(130.0, 1_000_000).map(|repetition| Repetition { queued_part: 0.5, ..repetition });
    let repetitions =
        vec![steady(130.0, 50), repetition(130.0, 570.0, rate), queued, steady(128.0, 70), steady(235.0, 90)];
    let cells = [cell(Group::Ours, "ours_exclusive", Workload::Stream, repetitions)];
    let results = Results::new(&cells, QUEUED_PART_MAX);
    let view = results.views().next().expect("one placement");
    assert_eq!(view.rates(&cells[0]), [(0, 50.0), (3, 70.0)]);
    assert_eq!((results.n_that(Belongs::Mixed), results.n_that(Belongs::Crowded)), (2, 1));
    // Where processes share a processor on purpose, standing in its queue is what is measured.
    let queued = steady(130.0, 50).map(|repetition| Repetition { queued_part: 0.5, ..repetition });
    let cells = [cell(Group::Ours, "ours_shared", Workload::Crowd, vec![queued])];
    assert_eq!(Results::new(&cells, QUEUED_PART_MAX).n_that(Belongs::To(0)), 1);
}

/// An L1 that hovers about a limit is one placement.
#[test]
fn a_placement_at_a_limit_is_not_split() {
    let l1s = [398.0, 402.0, 399.0, 405.0, 390.0];
    let repetitions = l1s.map(|l1_ns| steady(l1_ns, 10)).to_vec();
    let cells = [cell(Group::Ours, "ours_exclusive", Workload::Stream, repetitions)];
    let results = Results::new(&cells, QUEUED_PART_MAX);
    assert_eq!((results.places.len(), results.n_that(Belongs::To(0))), (1, 5));
}

/// Missed, met and not measured, by the ratio of medians, in this order; what a rival would have to be there for is said.
#[test]
fn targets_are_judged_by_the_ratio_of_medians() {
    let pingpong = |ns| vec![repetition(100.0, 100.0, Figures::Trips(trips_of(ns)))];
    let cells = [
        cell(Group::Ours, "ours_exclusive", Workload::PingPong(Waits::Spin), pingpong(109.0)),
        cell(Group::Ours, "ours_shared", Workload::PingPong(Waits::Spin), pingpong(121.0)),
        cell(Group::Ours, "ours_exclusive", Workload::Stream, vec![steady(100.0, 60)]),
        cell(Group::Minimal, "raw_tail", Workload::Stream, vec![steady(100.0, 100)]),
        cell(Group::Ours, "ours_exclusive_batch", Workload::Stream, vec![steady(100.0, 79)]),
        cell(Group::Rival, "shaq_batch", Workload::Stream, vec![steady(100.0, 100)]),
        cell(Group::Rival, "shaq", Workload::Stream, vec![steady(100.0, 500)]),
    ];
    let mut threads = cell(Group::Rival, "disruptor_batch", Workload::Stream, vec![steady(100.0, 900)]);
    threads.in_process = true;
    let cells: Vec<_> = cells.into_iter().chain([threads]).collect();
    let results = Results::new(&cells, QUEUED_PART_MAX);
    let targets = targets(&results.views().next().expect("one placement"));
    let judged = |text: &str| {
        let mut found = targets.iter().filter(|target| target.what.contains(text));
        let target = found.next().unwrap_or_else(|| panic!("a target about {text}"));
        assert!(found.next().is_none(), "{text} names one");
        (target.verdict(), target.measured.ok().map(|spread| spread.median), target.measured.err())
    };
    assert_eq!(judged("spinning, exclusive: mean"), (Verdict::Met, Some(1.09), None));
    assert_eq!(judged("spinning, shared: mean"), (Verdict::Missed, Some(1.21), None));
    assert_eq!(judged("spinning, exclusive: p99.9"), (Verdict::Met, Some(2.0), None));
    assert_eq!(judged("exclusive, push and poll, 64 B"), (Verdict::Met, Some(0.6), None));
    assert_eq!(
        judged("exclusive, push and poll, 16 B"),
        (Verdict::NotMeasured, None, Some("not in this run"))
    );
    assert_eq!(judged("one to one, exclusive, batch and drain, 64 B"), (Verdict::Missed, Some(0.79), None));
    let needs_aeron = (Verdict::NotMeasured, None, Some("needs --features aeron"));
    assert_eq!(judged("two to one, shared, push and poll, 64 B"), needs_aeron);
    assert!(targets.is_sorted_by_key(Target::verdict));
}

/// A clock read is taken off the time per record, not off the rate; a stall counts when it happened once.
#[test]
fn metadata_and_stalls_are_judged_as_said() {
    let crowd = |stall_s| {
        let rate = Rate { n_records: 10, seconds: 1.0, stall_s: Some(stall_s), ..Rate::default() };
        repetition(100.0, 100.0, Figures::Rate(rate))
    };
    // 100 ns and 128 ns per record, a clock read of 20.
    let cells = [
        cell(Group::Ours, "ours_exclusive", Workload::Stream, vec![steady(100.0, 10_000_000)]),
        cell(Group::Ours, "ours_exclusive_meta", Workload::Stream, vec![steady(100.0, 7_812_500)]),
        cell(Group::Ours, "ours_shared", Workload::Crowd, vec![crowd(0.001), crowd(0.07), crowd(0.001)]),
    ];
    let results = Results::new(&cells, QUEUED_PART_MAX);
    let targets = targets(&results.views().next().expect("one placement"));
    let judged = |text: &str| {
        let target = targets.iter().find(|target| target.what.contains(text)).expect("a target");
        (target.verdict(), target.measured.ok().map(|spread| (spread.median * 1000.0).round()))
    };
    assert_eq!(judged("metadata on"), (Verdict::Met, Some(1080.0)));
    assert_eq!(judged("longest time without a record"), (Verdict::Missed, Some(70_000.0)));
}

/// A repetition that failed is an ERROR line, and no figure of it is printed.
#[test]
fn a_repetition_that_failed_is_an_error_and_not_a_figure() {
    let missing = Err("no records were checked".to_owned());
    let cells = [
        cell(Group::Ours, "ours_exclusive", Workload::Stream, vec![missing]),
        cell(Group::Minimal, "raw_tail", Workload::Stream, vec![steady(130.0, 123_000_000)]),
    ];
    let results = Results::new(&cells, QUEUED_PART_MAX);
    assert!(results.failed());
    let text = markdown(&results, &[]);
    assert!(text.contains("- ERROR stream/64/ours_exclusive: no records were checked\n"), "{text}");
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with("| ours_exclusive ")).collect();
    assert!(rows.iter().all(|row| !row.contains(char::is_numeric)), "{rows:?}");
    let evidence = text.split("## Evidence").nth(1).expect("a section");
    assert!(evidence.contains("stream/64/raw_tail") && !evidence.contains("ours_exclusive"), "{evidence}");
    assert!(evidence.contains("0000000000000abc"), "{evidence}");
}

/// A rival that can't run here is an ERROR line; the run as a whole did not fail.
#[test]
fn a_rival_that_cannot_run_fails_nobody_else() {
    let rival = cell(Group::Rival, "posix_mq", Workload::Stream, vec![Err("mq_open: EINVAL".to_owned())]);
    let cells = [rival, cell(Group::Minimal, "raw_tail", Workload::Stream, vec![steady(130.0, 10)])];
    let results = Results::new(&cells, QUEUED_PART_MAX);
    assert!(
        !results.failed()
            && markdown(&results, &[]).contains("- ERROR stream/64/posix_mq: mq_open: EINVAL\n")
    );
}
