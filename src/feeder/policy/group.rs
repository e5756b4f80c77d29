//! The largest group of prices that agree, and the price in its middle. Pure arithmetic on exact decimals; the policy
//! decides whose prices take part.
//!
//! Prices agree if the highest is at most a given part above the lowest. Such a group is a window over the sorted
//! prices, so the largest is found by trying each price as the lowest one.

use crate::model::Price;
use rust_decimal::Decimal;
use std::fmt;

/// A group of prices that agree. All numbers are positions in the given list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PriceGroup {
    /// The median: the middle price, or the mean of the two in the middle.
    pub price: Price,
    /// The price or the two prices in the middle.
    pub middle: Vec<usize>,
    /// All members, the lowest price first.
    pub members: Vec<usize>,
}

/// Why there is no new price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Fewer agree than `price.min_sources`.
    TooFew {
        /// The number of sources that agree.
        agree: usize,
        /// The number of sources that count.
        of: usize,
        /// `price.min_sources`.
        needed: usize,
    },
    /// Not more than half of the sources agree.
    NoMajority {
        /// The number of sources that agree.
        agree: usize,
        /// The number of sources that count.
        of: usize,
    },
    /// The configuration needs one source only, and its price has just jumped.
    Jump,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFew { of: 0, needed, .. } => {
                write!(f, "no source has a fresh price, {needed} must agree")
            }
            Self::TooFew { agree, of, needed } => {
                write!(f, "{agree} of {of} sources with a fresh price agree, {needed} must")
            }
            Self::NoMajority { agree, of } => {
                write!(f, "{agree} of {of} sources with a fresh price agree, more than half must")
            }
            Self::Jump => f.write_str("the price of the only source has jumped, nothing confirms it yet"),
        }
    }
}

impl PriceGroup {
    /// The largest group among `prices`, which are in order of preference. Of several groups of that size the one whose
    /// median is nearest to `last`, then the one with the preferred source. `None`: no prices.
    pub(super) fn largest(prices: &[Price], within: Decimal, last: Option<Price>) -> Option<Self> {
        let mut sorted: Vec<usize> = (0..prices.len()).collect();
        sorted.sort_by_key(|at| prices[*at]);
        let window = |from: usize| {
            let lowest = prices[sorted[from]].decimal();
            let agrees = |at: &usize| prices[*at].decimal() - lowest <= lowest * within;
            let length = sorted[from..].partition_point(agrees);
            &sorted[from..from + length]
        };
        let windows: Vec<_> = (0..sorted.len()).map(window).collect();
        let most = windows.iter().map(|members| members.len()).max()?;
        let groups = windows.iter().filter(|members| members.len() == most);
        groups.map(|members| Self::of(prices, members)).min_by_key(|group| {
            let far = last.map(|last| (group.price.decimal() - last.decimal()).abs());
            let mut preferred = group.members.clone();
            preferred.sort_unstable();
            (far, preferred)
        })
    }

    fn of(prices: &[Price], members: &[usize]) -> Self {
        let half = members.len() / 2;
        let middle =
            if members.len().is_multiple_of(2) { half.saturating_sub(1)..half + 1 } else { half..half + 1 };
        let middle = members[middle].to_vec();
        let (one, other) = (prices[middle[0]], prices[middle[middle.len() - 1]]);
        Self { price: one.mean(other), middle, members: members.to_vec() }
    }

    /// Whether a group of `agree` is large enough among `of` prices that count.
    pub(super) fn majority(agree: usize, of: usize, needed: usize) -> Result<(), Refusal> {
        if agree < needed.max(1) {
            Err(Refusal::TooFew { agree, of, needed: needed.max(1) })
        } else if agree * 2 <= of {
            Err(Refusal::NoMajority { agree, of })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(texts: &[&str]) -> Vec<Price> {
        texts.iter().map(|text| Price::parse(text).unwrap()).collect()
    }

    fn group(texts: &[&str], last: Option<&str>) -> (String, Vec<usize>, Vec<usize>) {
        let last = last.map(|last| Price::parse(last).unwrap());
        let group = PriceGroup::largest(&prices(texts), Decimal::new(1, 2), last).unwrap();
        (group.price.to_string(), group.middle, group.members)
    }

    #[test]
    fn the_middle_of_those_that_agree() {
        for (texts, price, middle, members) in [
            (&["100.00"][..], "100.00", &[0][..], &[0][..]),
            (&["100.0", "100.5"], "100.25", &[0, 1], &[0, 1]),
            (&["101", "100", "100.5"], "100.5", &[2], &[1, 2, 0]),
            (&["100", "1000", "100.2", "10"], "100.1", &[0, 2], &[0, 2]),
            (&["100", "100.9", "200", "201", "200.5"], "200.5", &[4], &[2, 4, 3]),
            (&["100", "100", "100", "100"], "100", &[1, 2], &[0, 1, 2, 3]),
        ] {
            assert_eq!(
                group(texts, None),
                (price.to_owned(), middle.to_vec(), members.to_vec()),
                "{texts:?}"
            );
        }
        assert_eq!(PriceGroup::largest(&[], Decimal::ONE, None), None);
    }

    #[test]
    fn the_deviation_itself_still_agrees() {
        assert_eq!(group(&["100", "101"], None).2, [0, 1]);
        assert_eq!(group(&["100", "101.01"], None).2, [0]);
    }

    #[test]
    fn of_equal_groups_the_one_near_the_last_price_and_then_the_preferred_one() {
        let texts = ["200", "100"];
        assert_eq!(group(&texts, Some("120")).0, "100");
        assert_eq!(group(&texts, Some("180")).0, "200");
        assert_eq!(group(&texts, Some("150")).0, "200", "the preferred one");
        assert_eq!(group(&texts, None).0, "200");
        // Overlapping windows: both are a majority.
        let texts = ["100", "100.9", "101.8"];
        assert_eq!(group(&texts, Some("101.5")).2, [1, 2]);
        assert_eq!(group(&texts, None).2, [0, 1]);
    }

    #[test]
    fn a_majority_is_more_than_half_and_enough() {
        let words =
            |agree, of, needed| PriceGroup::majority(agree, of, needed).map_err(|why| why.to_string());
        for (agree, of, needed) in [(1, 1, 1), (2, 3, 2), (2, 2, 2), (3, 5, 1), (1, 1, 0)] {
            assert_eq!(words(agree, of, needed), Ok(()), "{agree} {of} {needed}");
        }
        assert_eq!(words(0, 0, 2), Err("no source has a fresh price, 2 must agree".into()));
        assert_eq!(words(0, 0, 0), Err("no source has a fresh price, 1 must agree".into()));
        assert_eq!(words(1, 3, 2), Err("1 of 3 sources with a fresh price agree, 2 must".into()));
        assert_eq!(
            words(2, 4, 2),
            Err("2 of 4 sources with a fresh price agree, more than half must".into())
        );
    }

    proptest::proptest! {
        /// Compares with every subset: the definition of a largest group.
        #[test]
        fn no_group_is_larger(cents in proptest::collection::vec(9_900u32..10_300, 1..9)) {
            let texts: Vec<_> = cents.iter().map(|c| format!("{}.{:02}", c / 100, c % 100)).collect();
            let prices = prices(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            let within = Decimal::new(1, 2);
            let agree = |set: &[Price]| {
                let (low, high) = (set.iter().min().unwrap(), set.iter().max().unwrap());
                high.deviation(*low) <= within
            };
            let subsets = (1u32..1 << prices.len()).map(|bits| {
                let chosen = prices.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
                chosen.map(|(_, price)| *price).collect::<Vec<_>>()
            });
            let most = subsets.filter(|set| agree(set)).map(|set| set.len()).max().unwrap();
            let group = PriceGroup::largest(&prices, within, None).unwrap();
            let own: Vec<_> = group.members.iter().map(|at| prices[*at]).collect();
            proptest::prop_assert_eq!(own.len(), most);
            proptest::prop_assert!(agree(&own) && own.is_sorted());
            proptest::prop_assert!(*own.first().unwrap() <= group.price && group.price <= *own.last().unwrap());
            let below = own.iter().filter(|price| **price <= group.price).count();
            let above = own.iter().filter(|price| **price >= group.price).count();
            proptest::prop_assert!(below * 2 >= own.len() && above * 2 >= own.len());
        }
    }
}
