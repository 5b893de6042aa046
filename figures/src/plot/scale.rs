//! Where a value lies on an axis, and which values are written there.

/// What the numbers are.
#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Count,
    Seconds,
    Milliseconds,
    Microseconds,
    Megabytes,
}

impl Unit {
    /// The value as people write it, with about three digits.
    pub(crate) fn write(self, value: f64) -> String {
        match self {
            Unit::Count if value >= 1_000.0 => {
                format!("{},{:03}", value as u64 / 1000, value as u64 % 1000)
            }
            Unit::Count => digits(value),
            Unit::Seconds => duration(value * 1e6),
            Unit::Milliseconds => duration(value * 1e3),
            Unit::Microseconds => duration(value),
            Unit::Megabytes => format!("{} MB", digits(value)),
        }
    }
}

fn duration(microseconds: f64) -> String {
    if microseconds == 0.0 {
        "0".to_owned()
    } else if microseconds >= 1e6 {
        format!("{} s", digits(microseconds / 1e6))
    } else if microseconds >= 1e3 {
        format!("{} ms", digits(microseconds / 1e3))
    } else {
        format!("{} µs", digits(microseconds))
    }
}

/// Whole from 10 on, without needless zeros below.
fn digits(value: f64) -> String {
    if value >= 10.0 {
        return format!("{value:.0}");
    }
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The values of an axis, from one end to the other.
#[derive(Clone, Copy)]
pub(crate) enum Scale {
    Linear {
        from: f64,
        to: f64,
    },
    /// By powers of ten; both ends are above 0.
    Log {
        from: f64,
        to: f64,
    },
}

impl Scale {
    /// Linear, from 0 to a round number above all of these.
    pub(crate) fn up_to(values: impl Iterator<Item = f64>) -> Self {
        let most = values.fold(0.0, f64::max);
        let step = round_step(most / 3.0);
        let to = (most * 1.05 / step).ceil() * step;
        Scale::Linear { from: 0.0, to }
    }

    /// By powers of ten, around all of these.
    pub(crate) fn around(values: impl Iterator<Item = f64>) -> Self {
        let positive = values.filter(|value| *value > 0.0);
        let (least, most) = positive.fold((f64::MAX, f64::MIN_POSITIVE), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let power = |value: f64| 10_f64.powf(value);
        let from = power(least.min(most).log10().floor());
        let to = power(most.log10().ceil());
        Scale::Log {
            from,
            to: if to > from { to } else { from * 10.0 },
        }
    }

    /// 0 at the one end, 1 at the other; what lies outside is put on the edge.
    pub(crate) fn place(self, value: f64) -> f64 {
        let place = match self {
            Scale::Linear { from, to } => (value - from) / (to - from),
            Scale::Log { from, to } => (value / from).log10() / (to / from).log10(),
        };
        place.clamp(0.0, 1.0)
    }

    /// The values to write: about so many of them, on a linear scale.
    pub(crate) fn ticks(self, wanted: f64) -> Vec<f64> {
        match self {
            Scale::Linear { from, to } => {
                let step = round_step((to - from) / wanted);
                let count = ((to - from) / step + 1e-9).floor() as usize;
                (0..=count).map(|tick| from + tick as f64 * step).collect()
            }
            Scale::Log { from, to } => {
                let count = (to / from).log10().round() as i32;
                (0..=count).map(|tick| from * 10_f64.powi(tick)).collect()
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten: the least such number that is not below.
fn round_step(wanted: f64) -> f64 {
    if wanted <= 0.0 || !wanted.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(wanted.log10().floor());
    let step = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|step| step * power >= wanted * 0.999);
    step.unwrap_or(10.0) * power
}
