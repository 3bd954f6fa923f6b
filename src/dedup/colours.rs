//! What the colours of two pictures say about one being made from the other, before either is looked at closely.
//!
//! A crop has no colour that its source lacks. Of 49,000 pairs of training images that their descriptors call unlikely copies,
//! verified one by one (docs/benchmarks.md), one picture's colours are held by the other in nine of ten copies and in one of
//! ten other pairs.

use crate::vision::palette::Shared;

/// Promise from which colours are not asked: a change of tone leaves the picture, and not its colours.
pub const SURE: f32 = 0.3;
/// Share of a picture that may show other colours where it is held by another one.
const HELD: f32 = 0.01;
/// The same from which it is none of its colours.
const FOREIGN: f32 = 0.03;
/// Odds of a picture of [`FOREIGN`] others; with more they fall as their share rises.
const FOREIGN_ODDS: f32 = 0.3;
/// They fall to this.
const LEAST_ODDS: f32 = 0.03;
/// Odds for each colour of a picture that is held, and at most: grey is held by nearly everything. By the pairs above they are
/// two to four times as much; promises of more than they are worth cost a verification each.
const ODDS_A_COLOUR: f32 = 0.5;
const MOST_ODDS: f32 = 5.0;

/// A promise, 0 to 1, once colours were heard.
#[must_use]
pub fn heard(promise: f32, shared: Shared) -> f32 {
    if promise >= SURE {
        return promise;
    }
    let odds = promise / (1.0 - promise) * odds(shared);
    odds / (1.0 + odds)
}

/// How much likelier copies share so much than other pairs do.
fn odds(shared: Shared) -> f32 {
    let foreign = (1.0 - shared.held).max(HELD);
    let most = (ODDS_A_COLOUR * shared.colours).clamp(1.0, MOST_ODDS);
    if foreign >= FOREIGN {
        return (FOREIGN_ODDS * FOREIGN / foreign).max(LEAST_ODDS);
    }
    let way = (foreign / HELD).ln() / (FOREIGN / HELD).ln();
    most.powf(1.0 - way) * FOREIGN_ODDS.powf(way)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(held: f32, colours: f32) -> Shared {
        Shared { held, colours }
    }

    #[test]
    fn odds_rise_with_what_is_held() {
        let steps: Vec<f32> = (0..=100).map(|i| odds(shared(i as f32 / 100.0, 12.0))).collect();
        assert!(steps.windows(2).all(|pair| pair[0] <= pair[1]), "{steps:?}");
        assert_eq!([steps[0], steps[100]], [LEAST_ODDS, MOST_ODDS]);
        assert_eq!(odds(shared(1.0, 1.2)), 1.0, "grey is held by everything");
    }

    #[test]
    fn what_is_sure_stays_and_promises_stay_promises() {
        assert_eq!(heard(0.3, shared(0.1, 3.0)), 0.3);
        assert!(heard(0.29, shared(0.1, 3.0)) < 0.02);
        let risen = heard(0.005, shared(1.0, 10.0));
        assert!((0.02..0.03).contains(&risen), "{risen}");
        assert_eq!(heard(0.0, shared(1.0, 10.0)), 0.0);
        assert!(heard(0.29, shared(1.0, 200.0)) < 1.0);
    }
}
