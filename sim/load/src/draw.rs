//! Chance without state: the same seed, user and purpose give the same number, in whatever order they are asked, so
//! that the shards of a run draw what the whole run would have drawn.

/// What a number is drawn for; one more draw for one purpose moves nothing elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// How many tabs a user has.
    Tabs,
    /// When a user arrives.
    Arrival,
    /// When a user's next tab opens.
    Opening,
    /// When a tab's regular sends begin.
    Phase,
    /// When something happens to a user; the number tells kinds of happening apart.
    Event(u8),
    /// To which tab it happens.
    Which(u8),
    /// How long a user of the closed model stays, and thinks.
    Stay,
}

impl Purpose {
    const fn number(self) -> u64 {
        match self {
            Self::Tabs => 1,
            Self::Arrival => 2,
            Self::Opening => 3,
            Self::Phase => 4,
            Self::Stay => 5,
            Self::Event(kind) => 0x100 + kind as u64,
            Self::Which(kind) => 0x200 + kind as u64,
        }
    }
}

/// The source of a run's chance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    /// 64 even bits: the `nth` draw of this purpose for this user.
    pub(crate) fn bits(self, user: u64, purpose: Purpose, nth: u64) -> u64 {
        [user, purpose.number(), nth]
            .into_iter()
            .fold(mixed(self.0), |state, part| mixed(state ^ mixed(part)))
    }

    /// A number from 0 up to, and without, 1.
    pub(crate) fn unit(self, user: u64, purpose: Purpose, nth: u64) -> f64 {
        // The upper 53 bits are as many as a double holds exactly.
        let bits = self.bits(user, purpose, nth) >> 11;
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
        let bits = bits as f64;
        bits / 9_007_199_254_740_992.0
    }

    /// The distance to the next event of a Poisson process with one event per unit.
    pub(crate) fn step(self, user: u64, purpose: Purpose, nth: u64) -> f64 {
        -(1.0 - self.unit(user, purpose, nth)).ln()
    }
}

/// `SplitMix64` (Steele, Lea and Flood, 2014): each bit of the input turns about half of the output.
const fn mixed(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_and_steps_have_a_mean_of_one() {
        let draw = Draw(7);
        let mean = |one: &dyn Fn(u64) -> f64| (0..10_000).map(one).sum::<f64>() / 10_000.0;

        let unit = mean(&|nth| draw.unit(3, Purpose::Arrival, nth));
        let step = mean(&|nth| draw.step(3, Purpose::Event(1), nth));

        assert!((unit - 0.5).abs() < 0.01, "{unit}");
        assert!((step - 1.0).abs() < 0.03, "{step}");
    }

    #[test]
    fn each_user_purpose_and_count_draws_for_itself() {
        let draw = Draw(7);
        let mut all = Vec::new();
        for user in 0..10 {
            for purpose in [
                Purpose::Tabs,
                Purpose::Arrival,
                Purpose::Event(0),
                Purpose::Event(1),
            ] {
                all.extend((0..10).map(|nth| draw.bits(user, purpose, nth)));
            }
        }

        all.sort_unstable();
        all.dedup();

        assert_eq!(all.len(), 400);
        assert_ne!(draw.bits(1, Purpose::Tabs, 0), Draw(8).bits(1, Purpose::Tabs, 0));
    }
}
