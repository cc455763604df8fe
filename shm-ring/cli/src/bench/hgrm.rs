//! Hgrm: percentiles in the text format of HdrHistogram, which plotters read. Values are microseconds.

use super::figures::Figures;

/// Lines for each halving of what is left to 100 %.
const TICKS: u32 = 5;
/// What three digits take.
const SUB_BUCKETS: u32 = 2048;

/// All of it.
pub(super) fn show(figures: &Figures) -> String {
    let latency = &figures.latency;
    let micros = |ns: f64| ns / 1e3;
    let mut out = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let mut n = 0;
    for step in latency.iter_quantiles(TICKS) {
        n += step.count_since_last_iteration();
        let (value, quantile) = (micros(step.value_iterated_to() as f64), step.quantile_iterated_to());
        out.push_str(&format!("{value:12.3} {quantile:2.12} {n:10}"));
        if quantile < 1.0 {
            out.push_str(&format!(" {:14.2}", 1.0 / (1.0 - quantile)));
        }
        out.push('\n');
    }
    let (mean, deviation) = (micros(latency.mean()), micros(latency.stdev()));
    out.push_str(&format!("#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n"));
    out.push_str(&format!(
        "#[Max     = {:12.3}, Total count    = {:12}]\n",
        micros(latency.max() as f64),
        latency.len()
    ));
    let (buckets, sub_buckets) = (latency.buckets(), SUB_BUCKETS);
    out.push_str(&format!("#[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]\n"));
    out
}
