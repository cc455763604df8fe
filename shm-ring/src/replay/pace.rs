//! Pace: when a record is due.
//!
//! ```text
//!   time of the record   -----+------------+------------->      due = clock + (timestamp - record) / speed
//!                          record      timestamp
//!   monotonic clock      -----+------------+------------->
//!                           clock         due
//! ```
//!
//! (I1) a deadline is absolute: what one record is late by is not added to the next; (I2) it is computed in integers, from one pair of moments
//! and a speed taken exactly, so that nothing adds up, but a ns of the record at each other speed; (I3) another speed, a pause or a shift makes another pair, and time never jumps.
//! Computes; waits for nothing and asks no clock.

use crate::error::Error;
use std::time::Duration;

/// How fast a replay goes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Pace {
    /// As fast as records can be read.
    Max,
    /// So many times as fast as they were recorded; 1.0: as recorded. Finite and greater than 0: [`Pace::speed`] asks.
    Speed(f64),
    /// One at each [`Control::step`](super::control::Control::step).
    Step,
}

/// What a replay does that can't keep its pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lag {
    /// Hands out what is late at once, until it is in time again.
    CatchUp,
    /// Behind more than that, all that is still to come is as late as that.
    Shift(Duration),
}

/// How a replay waits until a record is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// Sleeps until shortly before, then watches the clock: errors of microseconds, for a processor's time.
    Spin,
    /// Sleeps: errors of tens of microseconds.
    Sleep,
}

impl Pace {
    /// So many times as fast as it was recorded.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for what is not finite and greater than 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use shm_ring::replay::Pace;
    /// assert_eq!(Pace::speed(2.5)?, Pace::Speed(2.5));
    /// assert!(Pace::speed(-1.0).is_err());
    /// # Ok::<(), shm_ring::Error>(())
    /// ```
    pub fn speed(times: f64) -> Result<Self, Error> {
        let pace = Self::Speed(times);
        if pace.is_valid() {
            return Ok(pace);
        }
        Err(Error::Invalid {
            option: "speed",
            expected: "a finite number greater than 0".into(),
            found: times.to_string(),
        })
    }

    pub(crate) fn is_valid(self) -> bool {
        match self {
            Self::Speed(times) => Rate::of(times).is_some(),
            Self::Max | Self::Step => true,
        }
    }
}

/// A speed, exactly as it was given: `odd * 2^exponent` ns of the record in a ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    odd: u64,
    exponent: i32,
}

impl Rate {
    fn of(times: f64) -> Option<Self> {
        if !times.is_finite() || times <= 0.0 {
            return None;
        }
        let bits = times.to_bits();
        let biased = i32::try_from(bits >> 52).expect("the sign is 0, and 11 bits are left");
        let fraction = bits & ((1 << 52) - 1);
        // The smallest numbers have no leading one.
        let (mantissa, exponent) =
            if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
        let zeros = mantissa.trailing_zeros();
        Some(Self { odd: mantissa >> zeros, exponent: exponent + i32::try_from(zeros).expect("at most 52") })
    }

    /// How long so much of the record takes, rounded up; all ones: for ever.
    fn takes_ns(self, recorded_ns: u64) -> u64 {
        let (wide, odd) = (u128::from(recorded_ns), u128::from(self.odd));
        let shift = self.exponent.unsigned_abs();
        let taken = match (self.exponent >= 0, shift) {
            // A number of 53 bits.
            (true, 0..75) => wide.div_ceil(odd << shift),
            (true, _) => wide.min(1),
            (false, _) if recorded_ns == 0 => 0,
            // Less than 128: it is not 0.
            (false, _) if shift <= wide.leading_zeros() => (wide << shift).div_ceil(odd),
            (false, _) => u128::MAX,
        };
        u64::try_from(taken).unwrap_or(u64::MAX)
    }

    /// How much of the record passes in that time, rounded down.
    fn passes_ns(self, time_ns: u64) -> u64 {
        let product = u128::from(time_ns) * u128::from(self.odd);
        let shift = self.exponent.unsigned_abs();
        let passed = if self.exponent < 0 {
            product.checked_shr(shift).unwrap_or(0)
        } else if product == 0 || shift < product.leading_zeros() {
            product.checked_shl(shift).unwrap_or(0)
        } else {
            u128::MAX
        };
        u64::try_from(passed).unwrap_or(u64::MAX)
    }
}

/// Which moment of the record falls on which moment of the monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    clock_ns: u64,
    record_ns: u64,
    rate: Rate,
}

impl Course {
    /// `None`: that is no speed.
    pub(crate) fn new(clock_ns: u64, record_ns: u64, times: f64) -> Option<Self> {
        Some(Self { clock_ns, record_ns, rate: Rate::of(times)? })
    }

    /// When a record of that time is due.
    pub(crate) fn due_ns(&self, timestamp_ns: u64) -> u64 {
        match timestamp_ns.checked_sub(self.record_ns) {
            Some(ahead) => self.clock_ns.saturating_add(self.rate.takes_ns(ahead)),
            None => self.clock_ns.saturating_sub(self.rate.takes_ns(self.record_ns - timestamp_ns)),
        }
    }

    /// Which time of the record it is at that time of the clock.
    pub(crate) fn record_ns_at(&self, clock_ns: u64) -> u64 {
        match clock_ns.checked_sub(self.clock_ns) {
            Some(since) => self.record_ns.saturating_add(self.rate.passes_ns(since)),
            None => self.record_ns.saturating_sub(self.rate.passes_ns(self.clock_ns - clock_ns)),
        }
    }

    /// From there on at another speed, from a whole ns of the record: up to one is lost. `next_ns`: a record that is waiting; if it is late, it
    /// stays as late as it is.
    pub(crate) fn turned(&self, now_ns: u64, next_ns: Option<u64>, times: f64) -> Option<Self> {
        let playing_ns = self.record_ns_at(now_ns);
        match next_ns.filter(|next| *next < playing_ns) {
            Some(late_ns) => Self::new(self.due_ns(late_ns), late_ns, times),
            None => Self::new(now_ns, playing_ns, times),
        }
    }

    /// Everything that is to come comes so much later.
    pub(crate) fn delay(&mut self, by_ns: u64) {
        self.clock_ns = self.clock_ns.saturating_add(by_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_NS: u64 = 86_400 * 1_000_000_000;

    fn takes_ns(times: f64, recorded_ns: u64) -> u64 {
        Rate::of(times).unwrap().takes_ns(recorded_ns)
    }

    // Goal: a deadline is exact, however far away it is. Method: speeds that have an exact decimal result, over ten days, to the ns.
    #[test]
    fn deadlines_are_exact() {
        for (times, recorded, taken) in [
            (1.0, DAY_NS + 1, DAY_NS + 1),
            (10.0, 10 * DAY_NS, DAY_NS),
            (10.0, 10 * DAY_NS + 1, DAY_NS + 1),
            (0.5, DAY_NS + 1, 2 * DAY_NS + 2),
            (3.0, 10, 4),
            (1e300, DAY_NS, 1),
            (1e300, 0, 0),
            (f64::MIN_POSITIVE, 1, u64::MAX),
            (5e-324, 0, 0),
            (2f64.powi(-64), 1, u64::MAX),
            (2f64.powi(70), u64::MAX, 1),
            (f64::MAX, u64::MAX, 1),
        ] {
            assert_eq!(takes_ns(times, recorded), taken, "{recorded} ns at {times}");
        }
        // 0.1 is no tenth: what it is more than one, 5.55e-17 of it, is less than a ns in a hundred days, and is rounded up.
        assert_eq!(takes_ns(0.1, DAY_NS), 10 * DAY_NS);
        for none in [0.0, -0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(!Pace::Speed(none).is_valid(), "{none}");
        }
    }

    // Goal: passing time and taking time are one thing, seen from two sides. Method: there and back at odd speeds; the ends of the numbers.
    #[test]
    fn what_takes_time_passes_in_it() {
        for times in [0.1, 0.3, 1.0, 1.7, 10.0, 123.456] {
            for recorded in [0, 1, 999, 1_000_000_007, DAY_NS] {
                let rate = Rate::of(times).unwrap();
                let back = rate.passes_ns(rate.takes_ns(recorded));
                let one_ns = Rate::of(times).unwrap().passes_ns(1) + 1;
                assert!((recorded..=recorded + one_ns).contains(&back), "{recorded} at {times}: {back}");
            }
        }
        for (times, time, passed) in
            [(1e300, 1, u64::MAX), (1e300, 0, 0), (5e-324, u64::MAX, 0), (2.0, u64::MAX, u64::MAX)]
        {
            assert_eq!(Rate::of(times).unwrap().passes_ns(time), passed, "{time} ns at {times}");
        }
    }

    // Goal: another speed does not move what is played now, nor make a late record less late. Method: a record in front of and behind it.
    #[test]
    fn another_speed_makes_no_jump() {
        let course = Course::new(1_000, 500, 1.0).unwrap();
        let fast = course.turned(1_100, Some(700), 10.0).unwrap();
        assert_eq!((fast.record_ns_at(1_100), fast.due_ns(700)), (600, 1_110));
        let late = course.turned(1_100, Some(560), 0.5).unwrap();
        assert_eq!((late.due_ns(560), late.due_ns(570)), (1_060, 1_080));
        assert_eq!(Course::new(1_000, 500, 2.0).unwrap().due_ns(300), 900);
    }
}
