//! Requests over time.

use std::time::Duration;

use super::Sample;

/// The time of which one point of a curve tells.
pub(crate) const BUCKET: Duration = Duration::from_millis(100);

/// What happened in such a time. Latencies are in microseconds, and `None` when no request was due.
pub(crate) struct Bucket {
    /// Its middle, in seconds.
    pub(crate) at: f64,
    /// Answers that came.
    pub(crate) answers: usize,
    pub(crate) p50: Option<f64>,
    pub(crate) p99: Option<f64>,
    pub(crate) max: Option<f64>,
}

/// Divides the samples: latencies belong to the time in which the request was due, answers to the one in which they came.
pub(crate) fn buckets(samples: &[Sample], lasts: Duration) -> Vec<Bucket> {
    let of = |time: Duration| (time.as_nanos() / BUCKET.as_nanos()) as usize;
    let mut latencies = vec![Vec::new(); of(lasts)];
    let mut answers = vec![0; latencies.len()];
    for sample in samples {
        if let Some(latencies) = latencies.get_mut(of(sample.at)) {
            latencies.push(sample.latency.as_secs_f64() * 1e6);
        }
        if let Some(answers) = answers.get_mut(of(sample.at + sample.latency)) {
            *answers += 1;
        }
    }
    let bucket = |(index, (mut latencies, answers)): (usize, (Vec<f64>, usize))| {
        latencies.sort_by(f64::total_cmp);
        Bucket {
            at: (index as f64 + 0.5) * BUCKET.as_secs_f64(),
            answers,
            p50: percentile(&latencies, 0.5),
            p99: percentile(&latencies, 0.99),
            max: percentile(&latencies, 1.0),
        }
    };
    latencies
        .into_iter()
        .zip(answers)
        .enumerate()
        .map(bucket)
        .collect()
}

/// The least of these ascending numbers that so great a part of all is not above.
pub(crate) fn percentile(ascending: &[f64], part: f64) -> Option<f64> {
    let rank = (ascending.len() as f64 * part).ceil() as usize;
    ascending.get(rank.max(1) - 1).copied()
}
